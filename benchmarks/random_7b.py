"""Qwen2-Audio of the 7B's true size with random weights: built on a device, or written in the layout of the hub.

`RandomQwen2Audio` is the family of `configs/model/qwen2_audio.yaml` without files of weights:

    model=qwen2_audio model._target_=benchmarks.random_7b.RandomQwen2Audio model.path=TINY +model.depth=32

`write_checkpoint` writes the files of the hub's Qwen2-Audio-7B-Instruct: five shards with an index, the key names of
transformers 4, and the tokenizer of a given folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.midsize import TINY
from dramaeval.models.families.qwen2_audio import Qwen2Audio

ROOT = Path(__file__).resolve().parents[1]
#: Parameters of the 7B.
PARAMETERS = 8_397_094_912
DEPTH = 32
#: Bytes of one shard at most; five shards, as on the hub.
SHARD = 4_000_000_000
#: The standard deviation of Qwen2-Audio's initial weights.
SPREAD = 0.02
#: Names of transformers 5, and those of the files on the hub.
OLD_NAMES = (
    ("model.audio_tower.", "audio_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)


def architecture(processor: Any, depth: int = DEPTH, *, small: bool = False) -> dict[str, Any]:
    """The values of the 7B's configuration, with the token ids of a processor.

    Args:
        processor: of Qwen2-Audio.
        depth: layers of the language model; the hub's has 32.
        small: widths that a CPU computes in seconds, with the same structure.
    """
    text = (ROOT / "configs" / "model" / "qwen2_audio_7b.yaml").read_text("utf-8")
    values: dict[str, Any] = yaml.safe_load(text)["architecture"]
    tokenizer = processor.tokenizer
    values["text_config"] |= {
        "num_hidden_layers": depth,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if small:
        values["audio_config"] |= {
            "d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 128,
        }  # fmt: skip
        values["text_config"] |= {
            "hidden_size": 128, "num_hidden_layers": min(depth, 4), "num_attention_heads": 4,
            "num_key_value_heads": 4, "intermediate_size": 256, "vocab_size": len(tokenizer) + 64,
        }  # fmt: skip
    return {
        **values,
        "audio_token_index": tokenizer.convert_tokens_to_ids(processor.audio_token),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": False,
    }


def build(model_class: Any, config: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A model with random weights, initialised on a device; the same seed gives the same weights of both classes."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            model = model_class(config)
    finally:
        torch.set_default_dtype(before)
    model.generation_config.eos_token_id = config.get_text_config().eos_token_id
    model.generation_config.pad_token_id = config.get_text_config().pad_token_id
    return model.eval()


class RandomQwen2Audio(Qwen2Audio):
    """Qwen2-Audio whose weights are drawn on the device; ``path`` is read for the processor alone.

    Args:
        depth: layers of the language model.
        small: see `architecture`.
        arguments: of `Family`.
    """

    def __init__(self, *, depth: int = DEPTH, small: bool = False, **arguments: Any) -> None:
        super().__init__(**{**arguments, "path": str(arguments.get("path") or TINY)})
        self.architecture = architecture(self.processor(), depth, small=small)

    def load(
        self,
        device: torch.device,
        checkpoint: Path | None = None,
        dtype: torch.dtype | None = None,
        quantization: Any = None,
    ) -> Any:
        """See `Family.load`; there are no files that a quantisation could read.

        Raises:
            ValueError: a quantisation is asked for.
        """
        if checkpoint is not None:
            return super().load(device, checkpoint, dtype, quantization)
        if quantization is not None:
            raise ValueError("Random weights are not quantised: write a checkpoint and load it.")
        model = build(
            self.model_class(),
            self.read_configuration(),
            device,
            dtype or self.torch_dtype(device),
        )
        model.set_attn_implementation(self.attention)
        self.configure(model)
        return model


def write_checkpoint(
    folder: Path,
    processor: Path,
    *,
    small: bool = False,
    depth: int = DEPTH,
    device: torch.device | None = None,
) -> Path:
    """Write a random checkpoint in bfloat16, unless it is there; at most one shard is in memory.

    Args:
        folder: for the files.
        processor: the folder of Qwen2-Audio's processor.
        small: see `architecture`.
        depth: layers of the language model.
        device: where the weights are drawn.
    """
    from safetensors.torch import save_file
    from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration
    from transformers import Qwen2AudioProcessor as Processor

    if (folder / "model.safetensors.index.json").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    own = Processor.from_pretrained(processor)
    values = architecture(own, depth, small=small)
    with torch.device("meta"):
        skeleton = Qwen2AudioForConditionalGeneration(Qwen2AudioConfig(**values))
    shapes = {name: tuple(weight.shape) for name, weight in skeleton.state_dict().items()}
    shards = list(_shards(shapes, SHARD if not small else sum(_sizes(shapes).values()) // 3))
    weight_map: dict[str, str] = {}
    torch.manual_seed(0)
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {
            old_name(name): _random(name, shapes[name], device or torch.device("cpu"))
            for name in names
        }
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file)
    for source in processor.iterdir():
        if source.is_file() and not source.name.endswith(".safetensors"):
            shutil.copy(source, folder / source.name)
    _write_json(folder / "config.json", _hub_config(values))
    # Qwen2-Audio-7B-Instruct samples by default.
    _write_json(
        folder / "generation_config.json",
        {
            "do_sample": True,
            "temperature": 0.7,
            "top_k": 20,
            "top_p": 0.5,
            "repetition_penalty": 1.1,
            "eos_token_id": [values["eos_token_id"]],
            "pad_token_id": values["pad_token_id"],
        },
    )
    # The index is written last: a folder without it is incomplete and is written again.
    total = sum(_sizes(shapes).values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(folder / "model.safetensors.index.json", index)
    return folder


def old_name(name: str) -> str:
    """The name of a weight in the hub's files."""
    return next(
        (old + name.removeprefix(new) for new, old in OLD_NAMES if name.startswith(new)), name
    )


def _hub_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """config.json with the keys of the hub's file, which transformers 4 wrote."""
    return {
        "architectures": ["Qwen2AudioForConditionalGeneration"],
        "audio_config": {**values["audio_config"], "model_type": "qwen2_audio_encoder"},
        "audio_token_index": values["audio_token_index"],
        "ignore_index": -100,
        "model_type": "qwen2_audio",
        "text_config": {
            **values["text_config"],
            "rope_theta": 10000,
            "torch_dtype": "bfloat16",
            "use_mrope": False,
        },
        "torch_dtype": "bfloat16",
        "transformers_version": "4.38.1",
        "vocab_size": values["text_config"]["vocab_size"],
    }


def _random(name: str, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Initial weights as transformers draws them: norms of one, biases of zero, all others normal."""
    if name.endswith("bias"):
        values = torch.zeros(shape)
    elif len(shape) == 1:
        values = torch.ones(shape)
    else:
        values = torch.empty(shape, dtype=torch.bfloat16, device=device).normal_(0, SPREAD)
    return values.to("cpu", torch.bfloat16)


def _sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    return {name: 2 * torch.Size(shape).numel() for name, shape in shapes.items()}


def _shards(shapes: Mapping[str, tuple[int, ...]], limit: int) -> Iterator[list[str]]:
    """The names of each shard, filled in order."""
    names: list[str] = []
    size = 0
    for name, own in _sizes(shapes).items():
        if names and size + own > limit:
            yield names
            names, size = [], 0
        names.append(name)
        size += own
    yield names


def _write_json(file: Path, values: Any) -> None:
    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
