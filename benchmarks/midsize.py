"""Writes a Qwen2-Audio with the proportions of the 7B, whose training steps take seconds on two cores.

| | 7B | here |
| --- | --- | --- |
| parameters | 8,397 M | 44 M |
| language model ÷ audio tower | 12.2 | 12.3 |
| vocabulary head ÷ language model | 8.2 % | 9.1 % |

Its weights are random: it is only used for timings. It has the tokenizer and the processor of the tiny judge.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dramaeval.config.schema import PACKAGE

TINY = PACKAGE / "models" / "tiny"
#: More rows than the tokenizer has tokens, as the 7B's table has too.
VOCABULARY = 7168


def configuration(processor: Any) -> Any:
    """The architecture, with the token ids of a processor's tokenizer."""
    from transformers import Qwen2AudioConfig

    tokenizer = processor.tokenizer
    return Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": 128,
            "d_model": 256,
            "encoder_layers": 4,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 768,
            "max_source_positions": 1500,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": VOCABULARY,
            "hidden_size": 512,
            "num_hidden_layers": 11,
            "num_attention_heads": 8,
            "num_key_value_heads": 8,
            "intermediate_size": 1280,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "use_sliding_window": False,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        audio_token_index=tokenizer.convert_tokens_to_ids(processor.audio_token),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )


def write(folder: Path, seed: int = 0) -> Path:
    """Write the model and its processor, unless they are there; returns the folder."""
    import torch
    from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

    if (folder / "config.json").is_file():
        return folder
    processor = Qwen2AudioProcessor.from_pretrained(TINY)
    torch.manual_seed(seed)
    model = Qwen2AudioForConditionalGeneration(configuration(processor)).float()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
