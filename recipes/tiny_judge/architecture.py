"""The architecture of the tiny judge: Qwen2-Audio's classes at a thousandth of the size.

Nothing is simplified but the widths and depths: 128 mel bins, 30 s of source positions, an audio
tower, a projector and a Qwen2 language model with an untied vocabulary head. What works on the
tiny judge therefore works on the 7B by changing one YAML.
"""

from __future__ import annotations

import torch
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2TokenizerFast,
    WhisperFeatureExtractor,
)
from transformers.models.whisper.modeling_whisper import sinusoids

from recipes.tiny_judge.tokenizer import AUDIO_TOKEN, END_OF_TEXT, END_OF_TURN

#: Embedding rows; the tokenizer fills at most this many.
VOCABULARY = 3072
#: Sampling rate of the front end in Hz.
SAMPLE_RATE = 16_000
MEL_BINS = 128


def feature_extractor() -> WhisperFeatureExtractor:
    """Whisper's log-mel front end as Qwen2-Audio uses it: 128 bins, 10 ms hop, 30 s."""
    return WhisperFeatureExtractor(
        feature_size=MEL_BINS,
        sampling_rate=SAMPLE_RATE,
        hop_length=160,
        chunk_length=30,
        n_fft=400,
        return_attention_mask=True,
    )


def build_processor(tokenizer: Qwen2TokenizerFast) -> Qwen2AudioProcessor:
    """Front end and tokenizer together, with Qwen2-Audio's chat template."""
    return Qwen2AudioProcessor(feature_extractor=feature_extractor(), tokenizer=tokenizer)


def build_config(tokenizer: Qwen2TokenizerFast) -> Qwen2AudioConfig:
    """The configuration whose token ids agree with ``tokenizer``."""
    end_of_text, end_of_turn, audio = tokenizer.convert_tokens_to_ids(
        [END_OF_TEXT, END_OF_TURN, AUDIO_TOKEN]
    )
    audio_config = {
        "model_type": "qwen2_audio_encoder",
        "num_mel_bins": MEL_BINS,
        "d_model": 128,
        "encoder_layers": 4,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 512,
        "max_source_positions": 1500,
        # Wider than the 0.02 of wide models, so that a narrow one's signals keep their size.
        "initializer_range": 0.05,
    }
    text_config = {
        "model_type": "qwen2",
        "vocab_size": VOCABULARY,
        "hidden_size": 160,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "num_key_value_heads": 5,
        "intermediate_size": 480,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "initializer_range": 0.05,
        "tie_word_embeddings": False,
        "use_sliding_window": False,
        "bos_token_id": None,
        "eos_token_id": end_of_turn,
        "pad_token_id": end_of_text,
    }
    return Qwen2AudioConfig(
        audio_config=audio_config,
        text_config=text_config,
        audio_token_index=audio,
        pad_token_id=end_of_text,
        eos_token_id=end_of_turn,
        tie_word_embeddings=False,
    )


def build_model(tokenizer: Qwen2TokenizerFast, seed: int) -> Qwen2AudioForConditionalGeneration:
    """An untrained tiny judge in fp32, its weights drawn from ``seed``."""
    torch.manual_seed(seed)
    model = Qwen2AudioForConditionalGeneration(build_config(tokenizer)).float()
    # The table of positions is frozen; as in Whisper it holds sinusoids.
    positions = model.model.audio_tower.embed_positions.weight
    with torch.no_grad():
        positions.copy_(sinusoids(*positions.shape))
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(
        [END_OF_TURN, END_OF_TEXT]
    )
    model.generation_config.pad_token_id = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    model.generation_config.do_sample = False
    return model
