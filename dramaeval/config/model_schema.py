"""The settings of ``model``, a part of `dramaeval.config.schema`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dramaeval.config.fields import MAPPING, TEXT, Target, setting


@dataclass(kw_only=True)
class ModelConfig(Target):
    """``model``: a family's class and its arguments; your own family may have further arguments."""

    path: str = setting(help="folder of the model, or its name on the hub (owner/name)")
    revision: Any = setting(None, kind=f"{TEXT} or null", help="branch, tag or commit on the hub")
    dtype: str = setting(
        "auto",
        help="data type of the weights; auto: bfloat16 on a GPU that supports it, else float32; with auto, full "
        "fine-tuning trains float32 weights",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    attention: str = setting(
        "sdpa",
        help="transformers' attention of the language model; all but sdpa need batch.shared_prefix=false",
        choices=("sdpa", "eager", "flash_attention_2"),
    )
    device_map: Any = setting(
        None,
        help="distribute a model that is not trained over devices: transformers' device_map",
        kind="auto, cpu, a device, or {module: device}",
    )
    offload_folder: str | None = setting(
        None, help="folder for the weights that device_map places on disk"
    )
    trust_remote_code: bool = setting(False, help="run Python code that comes with the checkpoint")
    architecture: Any = setting(
        None,
        help="values of the checkpoint's config.json, so that plan=true needs no files of the model",
        kind=MAPPING,
    )
    freeze_audio: bool = setting(
        False, help="with peft=none: do not train the audio encoder (adapters: see adapt)"
    )
    freeze_llm: bool = setting(False, help="with peft=none: do not train the language model")
    train_projector: bool = setting(
        True,
        help="train the projector between audio encoder and language model: with peft=none, or if it is new",
    )
    head: str = setting(
        "vocabulary",
        help="source of scores: the probabilities of the scale's tokens, or a number from a linear layer on the last hidden "
        "state (a baseline)",
        choices=("vocabulary", "regression"),
    )
    plain: list[str] = setting(
        [],
        help="steps that are computed as in transformers, which is slower, with the same result: log_mel, encoder, head",
    )
