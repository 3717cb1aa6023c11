"""Judges that are composed of a Whisper encoder and a language model, on small random parts."""

import json
import os
from pathlib import Path

import pytest
import torch
from judge_parts import TINY, write_encoder, write_text
from transformers import (
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    Qwen2AudioForConditionalGeneration,
    WhisperModel,
)

from dramaeval.models.errors import ModelError
from dramaeval.models.families.composed import Composed

CPU = torch.device("cpu")
MESSAGES = [
    {"role": "system", "content": "Judge."},
    {"role": "user", "content": [{"type": "audio", "audio_url": "x"}, {"type": "text", "text": "How?"}]},
]  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def text_of(tmp_path_factory):
    folders = {}

    def build(kind):
        if kind not in folders:
            folders[kind] = write_text(tmp_path_factory.mktemp(kind), kind)
        return folders[kind]

    return build


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DRAMAEVAL_COMPOSED", str(tmp_path / "composed"))
    return tmp_path / "composed"


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma", "gemma3_text", "gpt_neox"])
def test_plain_transformers_loads_the_joined_checkpoint(encoder, text_of, kind):
    family = Composed(audio=str(encoder), text=str(text_of(kind)))
    family.write_files()
    judge = Qwen2AudioForConditionalGeneration.from_pretrained(family.path).eval()
    # Both parts are unchanged.
    whisper = WhisperModel.from_pretrained(encoder).encoder.state_dict()
    tower = judge.model.audio_tower.state_dict()
    assert tower.keys() == whisper.keys()
    assert all(torch.equal(tower[name], weight) for name, weight in whisper.items())
    plain = AutoModelForCausalLM.from_pretrained(text_of(kind)).eval()
    ids = torch.arange(40, 60)[None]
    with torch.no_grad():
        expected = plain(input_ids=ids).logits
        logits = judge(input_ids=ids).logits[..., : expected.shape[-1]]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    # The three new tokens are the mean of the others, in the embeddings and in the head.
    old = plain.get_input_embeddings().weight.shape[0]
    for new, before in (
        (judge.get_input_embeddings(), plain.get_input_embeddings()),
        (judge.get_output_embeddings(), plain.get_output_embeddings()),
    ):
        assert new.weight.shape[0] == old + 3
        expected = before.weight.mean(dim=0).expand(3, -1)
        torch.testing.assert_close(new.weight[old:], expected, atol=1e-6, rtol=1e-5)
    processor = AutoProcessor.from_pretrained(family.path)
    assert processor.feature_extractor.feature_size == 80
    ids = processor.tokenizer.convert_tokens_to_ids(["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"])
    assert ids == [old, old + 1, old + 2]
    assert judge.config.audio_token_id == old
    assert processor.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nJudge.<|im_end|>\n<|im_start|>user\n"
        "Audio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\nHow?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert family.end_of_turn(processor) == "<|im_end|>"
    assert 3066 in judge.generation_config.eos_token_id


@pytest.mark.parametrize("kind", ["llama", "gemma3_text"])
def test_clips_have_the_scale_of_the_text(encoder, text_of, kind):
    judge = Composed(audio=str(encoder), text=str(text_of(kind))).load(CPU)
    # The encoder ends with a layer norm: inputs of mean 0 and variance 1 before its weights and biases.
    norm = judge.model.audio_tower.layer_norm
    states = torch.randn(4000, 32, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        clips = judge.model.multi_modal_projector(norm(states))
        # Gemma 3 multiplies its embeddings; the module's output is what the layers get.
        words = judge.get_input_embeddings()(torch.arange(3069))
    ratio = clips.square().mean().sqrt() / words.square().mean().sqrt()
    assert 0.85 < float(ratio) < 1.15
    assert judge.model.multi_modal_projector.linear.bias.abs().max() == 0


def test_seed_determines_the_projector_and_the_folder(encoder, text_of):
    parts = {"audio": str(encoder), "text": str(text_of("llama"))}

    def projector(seed, path="auto"):
        family = Composed(**parts, projector_seed=seed, path=path)
        return family.path, family.load(CPU).model.multi_modal_projector.linear.weight

    (first, weight), (again, same), (other, different) = map(projector, (0, 0, 1))
    assert first == again != other
    assert torch.equal(weight, same)
    assert not torch.allclose(weight, different)


def test_a_plan_reads_no_weights_and_writes_nothing(encoder, text_of, tmp_path, cache):
    for name, source in (("a", encoder), ("t", text_of("llama"))):
        (tmp_path / name).mkdir()
        for file in source.iterdir():
            if file.suffix != ".safetensors":
                (tmp_path / name / file.name).write_bytes(file.read_bytes())
    family = Composed(audio=str(tmp_path / "a"), text=str(tmp_path / "t"))
    skeleton = family.skeleton()
    assert skeleton.config.audio_config.num_mel_bins == 80
    assert skeleton.lm_head.weight.shape == (3072, 48)
    assert family.processor().tokenizer.convert_tokens_to_ids("<|AUDIO|>") == 3069
    assert not cache.exists()


def test_parts_of_other_judges(encoder, text_of):
    """The encoder and the language model of a Qwen2-Audio checkpoint."""
    first = Composed(audio=str(encoder), text=str(text_of("qwen2")))
    first.write_files()
    tiny = Qwen2AudioForConditionalGeneration.from_pretrained(TINY)
    judge = Composed(audio=first.path, text=str(TINY)).load(CPU)
    whisper = WhisperModel.from_pretrained(encoder).encoder.state_dict()
    tower = judge.model.audio_tower.state_dict()
    assert all(torch.equal(tower[name], weight) for name, weight in whisper.items())
    for name, weight in tiny.model.language_model.state_dict().items():
        assert torch.equal(judge.model.language_model.state_dict()[name], weight), name
    assert torch.equal(judge.lm_head.weight, tiny.lm_head.weight)
    other = Composed(audio=first.path, text=str(TINY)).processor()
    assert len(other.tokenizer) == len(AutoTokenizer.from_pretrained(TINY))


def test_sixteen_bits_are_kept(encoder, tmp_path):
    text = write_text(tmp_path / "text", "llama", torch.bfloat16)
    judge = Composed(audio=str(encoder), text=str(text))
    judge.write_files()
    weights = Qwen2AudioForConditionalGeneration.from_pretrained(judge.path, dtype="auto")
    # A float32 encoder would lose digits in 16 bits.
    assert weights.dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("gemma2", "final_logit_softcapping=30.0"),
        ("cohere", "logit_scale=0.0625"),
        ("phi", "its head has a bias"),
    ],
)
def test_models_that_the_class_cannot_hold_are_refused_before_weights_load(
    encoder, text_of, kind, reason
):
    family = Composed(audio=str(encoder), text=str(text_of(kind)))
    with pytest.raises(ModelError, match=rf"model\.text=.* {kind}.*cannot hold.*{reason}"):
        family.shared_prefix_problem()


def test_parts_that_do_not_fit_are_named(encoder, text_of, tmp_path):
    with pytest.raises(ModelError, match=r"model\.audio=.* is a llama\. Give a Whisper"):
        Composed(audio=str(text_of("llama")), text=str(text_of("llama"))).skeleton()
    with pytest.raises(ModelError, match=r"model\.text=.* whisper"):
        Composed(audio=str(encoder), text=str(encoder)).skeleton()
    with pytest.raises(ModelError, match=r"model\.audio=/nowhere is not a folder"):
        Composed(audio="/nowhere", text=str(text_of("llama"))).skeleton()
    with pytest.raises(ValueError, match="audio_revision"):
        Composed(audio="a/b", text="c/d", revision="main")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    family = Composed(audio=str(encoder), text=str(text_of("llama")), path=str(tmp_path / "taken"))
    with pytest.raises(ModelError, match=r"model\.path=.*taken holds other files"):
        family.skeleton()


def test_a_folder_can_be_chosen_and_is_used_again(encoder, text_of, tmp_path):
    parts = {"audio": str(encoder), "text": str(text_of("llama")), "path": str(tmp_path / "mine")}
    Composed(**parts).write_files()
    file = tmp_path / "mine" / "model.safetensors"
    written = file.stat().st_mtime_ns
    Composed(**parts).load(CPU)
    assert file.stat().st_mtime_ns == written
    assert json.loads((tmp_path / "mine" / "composed.json").read_text())["seed"] == 0
    assert not list(tmp_path.glob("*unfinished*"))


REAL = Path(os.environ.get("DRAMAEVAL_REAL_JUDGES", "/work/real_judges"))


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="needs the judges of real weights (build_judge.py)")
def test_real_parts_keep_what_they_know():
    family = Composed(
        audio=str(REAL / "judge-whisper-base-tiny"), text=str(REAL / "smollm2-135m-instruct")
    )
    family.write_files()
    judge = Qwen2AudioForConditionalGeneration.from_pretrained(family.path, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(family.path)
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    inputs = processor.tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
    tokens = judge.eval().generate(**inputs, max_new_tokens=16, do_sample=False)
    assert processor.tokenizer.decode(tokens[0]).endswith("Paris.<|im_end|>")
