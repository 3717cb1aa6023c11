"""The shipped tiny judge: its files, its tokens, and what it recognises in speech."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

import dramaeval
from recipes.sample.speech import Delivery, synthesise
from recipes.sample.voices import VOICES

FOLDER = Path(dramaeval.__file__).parent / "models" / "tiny"
TEXT = "Listen, the lantern is still on the table."


@pytest.fixture(scope="module")
def model():
    return Qwen2AudioForConditionalGeneration.from_pretrained(FOLDER).eval()


@pytest.fixture(scope="module")
def processor():
    return Qwen2AudioProcessor.from_pretrained(FOLDER)


def test_the_folder_is_small_and_has_safetensors_only(model):
    assert sum(weight.numel() for weight in model.parameters()) <= 8_000_000
    weights = [path for path in FOLDER.iterdir() if path.stat().st_size > 1_000_000]
    assert [path.name for path in weights] == ["model.safetensors"]
    assert weights[0].stat().st_size <= 20 * 2**20
    suffixes = {path.suffix for path in FOLDER.iterdir()}
    assert suffixes <= {".json", ".safetensors", ".jinja", ".md", ".txt"}


def test_the_architecture_is_that_of_the_7b_model(model):
    audio = model.config.audio_config
    assert (audio.num_mel_bins, audio.max_source_positions) == (128, 1500)
    assert model.config.text_config.model_type == "qwen2"
    assert model.lm_head.weight.data_ptr() != model.get_input_embeddings().weight.data_ptr()
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


def test_autoprocessor_loads_the_same_processor(processor):
    automatic = AutoProcessor.from_pretrained(FOLDER)
    assert type(automatic) is Qwen2AudioProcessor
    assert automatic.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert automatic.feature_extractor.feature_size == 128
    assert automatic.feature_extractor.sampling_rate == 16_000


def test_every_digit_is_one_token(processor):
    tokenizer = processor.tokenizer
    for digit in "0123456789":
        ids = tokenizer(digit, add_special_tokens=False)["input_ids"]
        assert len(ids) == 1
        written = tokenizer(f"<answer>{digit}</answer>", add_special_tokens=False)["input_ids"]
        assert written.count(ids[0]) == 1
    assert len(tokenizer("2026", add_special_tokens=False)["input_ids"]) == 4


def test_special_tokens_are_single_tokens_and_are_skipped_in_decoding(processor, model):
    tokenizer = processor.tokenizer
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    names += ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
    for name in names:
        (number,) = tokenizer(name, add_special_tokens=False)["input_ids"]
        assert number < model.config.text_config.vocab_size
        assert number in tokenizer.all_special_ids
    assert processor.audio_token_id == model.config.audio_token_id
    assert (
        tokenizer.decode(
            tokenizer("<|im_start|>a<|im_end|>")["input_ids"], skip_special_tokens=True
        )
        == "a"
    )


@pytest.mark.parametrize(
    "text", ["Oh ho, do that again!", "你好，世界。", "naïve 🎭\n\ttabs  ", "<answer>4</answer>"]
)
def test_tokens_decode_to_the_original_text(processor, text):
    ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert processor.tokenizer.decode(ids) == text


def test_the_chat_template_is_that_of_qwen2_audio(processor):
    messages = [
        {"role": "system", "content": "You judge."},
        {
            "role": "user",
            "content": [{"type": "audio", "audio_url": "a.wav"}, {"type": "text", "text": "Well?"}],
        },
    ]
    rendered = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == (
        "<|im_start|>system\nYou judge.<|im_end|>\n"
        "<|im_start|>user\nAudio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\nWell?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def ask(model, processor, waveform, question):
    """The words that transformers generates."""
    context = (
        "Character: Adult; Honest. Anna sells flowers and is a woman. She puts no weight on any word.\n"
        f"Scene: Anna tells a customer about the lantern.\nLine: {TEXT}\n"
    )
    messages = [
        {"role": "system", "content": "You judge acted speech."},
        {
            "role": "user",
            "content": [
                {"type": "audio", "audio_url": "x"},
                {"type": "text", "text": context + question},
            ],
        },
    ]
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = processor(
        text=text + "<answer>", audio=[waveform], sampling_rate=16_000, return_tensors="pt"
    )
    with torch.no_grad():
        tokens = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    words = processor.tokenizer.decode(
        tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return words.removesuffix("</answer>")


def delivery(voice, **changes):
    plain = Delivery(
        voice=voice,
        pitch_range=0.5,
        rate=0.5,
        pauses="natural",
        stress="none",
        loudness_range=0.5,
        level=0.5,
        emotion="neutral",
        intensity=0.0,
        artefact="none",
    )
    return replace(plain, **changes)


#: A change of the delivery, a question about it, and the correct words.
QUESTIONS = (
    ({"level": 0.02}, "How loud is the voice?", {"hushed", "soft"}),
    ({"level": 0.98}, "How loud is the voice?", {"raised", "loud"}),
    ({"rate": 0.02}, "How fast is the speech?", {"slow", "unhurried"}),
    ({"rate": 0.98}, "How fast is the speech?", {"brisk", "fast"}),
    ({"loudness_range": 0.02}, "How much does the loudness swing?", {"level", "even"}),
    ({"loudness_range": 0.98}, "How much does the loudness swing?", {"swelling", "stormy"}),
    ({"artefact": "noise"}, "What is wrong with the recording?", {"noise"}),
    ({"artefact": "robotic"}, "What is wrong with the recording?", {"robotic"}),
)


#: The words for what is stressed.
STRESS = {"content": "key words", "none": "none", "misplaced": "small words"}
UNSEEN = sorted(
    key for key, voice in VOICES.items() if voice.split == "sample" and voice.age == "adult"
)


@pytest.mark.slow
def test_the_judge_hears_which_words_unseen_voices_stress(model, processor):
    correct = []
    for seed, voice in enumerate(UNSEEN):
        for stress, words in STRESS.items():
            waveform = synthesise(TEXT, "en", delivery(voice, stress=stress), seed)
            correct.append(ask(model, processor, waveform, "Which words are stressed?") == words)
    # A random guess is correct in a third of the cases.
    assert len(correct) == 12
    assert sum(correct) >= 8


@pytest.mark.slow
def test_the_judge_recognises_deliveries_of_unseen_voices(model, processor):
    correct = []
    for seed, voice in enumerate(UNSEEN[::2]):  # a man and a woman
        for changes, question, words in QUESTIONS:
            waveform = synthesise(TEXT, "en", delivery(voice, **changes), seed)
            correct.append(ask(model, processor, waveform, question) in words)
    # A random guess is correct in at most 40 % of the cases.
    assert len(correct) == 16
    assert np.mean(correct) >= 0.75
