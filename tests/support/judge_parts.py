"""Writes small random Whisper encoders and language models, the parts of a composed judge."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from dramaeval.config.schema import PACKAGE

TINY = PACKAGE / "models" / "tiny"
SIZES = {
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "initializer_range": 0.2,
}  # fmt: skip
KINDS = {
    "llama": {"tie_word_embeddings": True},  # as SmolLM
    "qwen2": {},
    "qwen3": {"head_dim": 12},
    "gemma": {"head_dim": 12},
    "gemma3_text": {"head_dim": 12, "sliding_window": 16,
                    "layer_types": ["sliding_attention", "full_attention"]},
    "gpt_neox": {},
    "gemma2": {"head_dim": 12},  # caps its logits
    "phi": {},  # has a bias in its head
    "cohere": {},  # scales its logits
}  # fmt: skip
#: A chat template without audio: the content of each message must be a text.
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}\n"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write_encoder(folder: Path, mel_bins: int = 80) -> Path:
    """Write a Whisper of two layers; its last layer norm has random weights, so that leaving it out is detected."""
    torch.manual_seed(1)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=64, d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64,
            decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64, num_mel_bins=mel_bins, init_std=0.2,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
        )
    )  # fmt: skip
    torch.nn.init.uniform_(model.model.encoder.layer_norm.weight, 0.5, 2.0)
    torch.nn.init.normal_(model.model.encoder.layer_norm.bias)
    model.save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path) -> int:
    """Write the tiny judge's tokenizer without the audio tokens, which are its last three; return its length."""
    tokenizer = AutoTokenizer.from_pretrained(TINY)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    for name, keys in (
        ("tokenizer.json", ("added_tokens",)),
        ("tokenizer_config.json", ("extra_special_tokens",)),
    ):
        file = folder / name
        values = json.loads(file.read_text(encoding="utf-8"))
        for key in keys:
            values[key] = [token for token in values[key] if not _is_audio_token(token)]
        file.write_text(json.dumps(values), encoding="utf-8")
    return len(tokenizer) - 3


def _is_audio_token(token: Any) -> bool:
    return "audio" in (token if isinstance(token, str) else token["content"]).lower()


def write_text(folder: Path, kind: str, dtype: torch.dtype = torch.float32) -> Path:
    """Write a language model of two layers with its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    size = write_tokenizer(folder)
    torch.manual_seed(0)
    ids = {"bos_token_id": None, "eos_token_id": 3066, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, vocab_size=size, **ids, **SIZES, **KINDS[kind])
    AutoModelForCausalLM.from_config(config).to(dtype).save_pretrained(folder)
    return folder
