"""Checks the values of ``peft``, ``adapt`` and ``quantization``, and their combinations with other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.fields import invalid_keys
from dramaeval.config.keys import check_arguments, is_a
from dramaeval.config.library_schema import PeftConfig
from dramaeval.config.problems import not_among
from dramaeval.config.schema import Stage
from dramaeval.config.user_keys import override_keys
from dramaeval.models.settings import PART_SETTINGS

#: Initialisations of LoRA that do not change the base, so that a saved adapter has the trained effect on it.
INITIALISATIONS = ("true", "false", "gaussian", "orthogonal", "mica")
_CHANGES_BASE = "changes the weights of the base, and the saved adapter would have another effect on the unchanged base"
_FROM_DATA = "is computed from activations of a data set, which PEFT's own scripts prepare"
#: The refused initialisations, with the reason.
REFUSED_INITIALISATIONS = {
    "pissa": _CHANGES_BASE,
    "olora": _CHANGES_BASE,
    "loftq": f"{_CHANGES_BASE}; peft=qlora trains on a quantised base",
    "corda": f"{_CHANGES_BASE}, and {_FROM_DATA}",
    "lora_ga": f"{_CHANGES_BASE}, and {_FROM_DATA}",
    "eva": _FROM_DATA,
}
#: Arguments of peft.LoraConfig that are refused, with the reason.
REFUSED_ARGUMENTS = {
    **{
        f"{name}_config": REFUSED_INITIALISATIONS[name]
        for name in ("loftq", "corda", "lora_ga", "eva")
    },
    "kasa_config": _CHANGES_BASE,
    "layer_replication": "changes the layers of the base, and a judge's forward pass counts them",
    "megatron_config": "is for models that Megatron divides",
    "use_qalora": "is for bases quantised with GPTQ; use peft=qlora",
    "alora_invocation_tokens": "needs a text that invokes the adapter, which a judge's prompt does not have",
}
#: Arguments for AdaLoRA's phases; if they are null, the run derives them from its number of steps.
DERIVED = ("total_step", "tinit", "tfinal")
#: The methods that learn virtual tokens.
PREFIX, PROMPT = "PrefixTuningConfig", "PromptTuningConfig"


def problems(config: DictConfig) -> list[str]:
    """Problems of ``peft``, ``adapt`` and ``quantization``."""
    adapt, peft, quantization = config.adapt, config.peft, config.quantization
    if not isinstance(quantization or {}, Mapping):
        return []  # reported by the schema
    names = [adapt] if isinstance(adapt, str) else adapt
    if not (isinstance(names, list) or OmegaConf.is_list(names)) or not all(
        isinstance(name, str) for name in names
    ):
        return [f"adapt={adapt} must be a name or a list of names: llm, audio, projector or all."]
    messages = check_arguments(quantization, "quantization") if quantization else []
    if Stage.train not in config.stages:
        return messages
    messages += _quantization_problems(config) if quantization else []
    if peft is None:
        return messages + _unused_problems(config, names)
    arguments = {key: peft[key] for key in peft if not (peft[key] is None and key in DERIVED)}
    messages += check_arguments(arguments, "peft", reported=invalid_keys(PeftConfig, peft))
    for part, key, fixed in PART_SETTINGS:
        if config.model.get(key) is fixed and {part, "all"} & set(names):
            messages.append(
                f"model.{key}={str(fixed).lower()} leaves the {part} untrained, but adapt={shown_parts(names)} trains "
                "an adapter in it: change one of the two."
            )
    if is_a(peft, "PromptLearningConfig"):
        messages += _virtual_token_problems(config, names)
    if is_a(peft, PREFIX):
        messages += _prefix_problems(config)
    if is_a(peft, "LoraConfig"):
        adalora = is_a(peft, "AdaLoraConfig")
        messages += lora_problems(peft, quantised=bool(quantization), adalora=adalora)
    return messages + (_adalora_problems(config) if is_a(peft, "AdaLoraConfig") else [])


def _unused_problems(config: DictConfig, names: Sequence[str]) -> list[str]:
    """The problem of an ``adapt`` that the user gives for a training of all weights."""
    if "adapt" not in override_keys(config):
        return []
    return [
        f"adapt={shown_parts(names)} names parts for adapters, and peft=none trains every weight: choose an adapter, for "
        "example peft=lora, or leave adapt out. model.freeze_audio=true, model.freeze_llm=true and "
        "model.train_projector=false leave a part untrained."
    ]


def lora_problems(peft: Mapping[str, Any], *, quantised: bool, adalora: bool) -> list[str]:
    """Problems of arguments of ``peft.LoraConfig`` with which a saved adapter would not have the trained effect."""
    messages = [
        f"peft.{key} {why}: leave it out."
        for key, why in REFUSED_ARGUMENTS.items()
        if peft.get(key)
    ]
    name = str(peft.get("init_lora_weights", True)).lower()
    allowed = INITIALISATIONS[:2] if adalora else INITIALISATIONS
    refused = REFUSED_INITIALISATIONS.get(name.partition("_niter_")[0])
    if refused:
        messages.append(
            f"peft.init_lora_weights={name} {refused}. Set it to one of {', '.join(allowed)}."
        )
    elif name not in allowed:
        messages.append(not_among("peft.init_lora_weights", name, allowed))
    if name == "mica" and quantised:
        messages.append(
            "peft.init_lora_weights=mica is computed from weights that are not quantised: set quantization=null, or "
            "leave it out."
        )
    return messages


def _quantization_problems(config: DictConfig) -> list[str]:
    from dramaeval.distributed.zero import zero_stage  # imports transformers

    messages = []
    if not config.peft:
        messages.append(
            "quantization is set, but peft=none trains every weight, and quantised weights cannot be trained: "
            "choose an adapter, for example peft=qlora, or quantization=null."
        )
    if zero_stage(config.zero) == 3:
        messages.append(
            "zero=zero3 splits weights over the processes, which is not possible for weights packed by "
            "bitsandbytes: set zero=zero2 or zero=none, or leave quantization out."
        )
    return messages


def _virtual_token_problems(config: DictConfig, names: list[str]) -> list[str]:
    from dramaeval.distributed.zero import zero_stage  # imports transformers

    messages = []
    if not is_a(config.peft, PREFIX, PROMPT):
        messages.append(
            f"peft._target_={config.peft['_target_']}: of the methods that learn virtual tokens only prefix and "
            "prompt tuning are supported: use peft=prefix or peft=prompt."
        )
    if config.model.head == "regression":
        messages.append(
            "model.head=regression trains a layer beside the adapter, which PEFT does not save for methods that "
            "learn virtual tokens: use another method, for example peft=lora."
        )
    if list(names) != ["llm"]:
        messages.append(
            f"adapt={shown_parts(names)}: virtual tokens are inputs of the language model; the audio encoder and the "
            "projector take none. Set adapt=llm, or use another method, for example peft=lora."
        )
    if zero_stage(config.zero) == 3:
        # With DeepSpeed 0.19 the processes diverge in the forward pass and wait forever.
        messages.append(
            "zero=zero3 gathers a layer's weights when the layer runs, and virtual tokens are read outside the "
            "layers: the processes would wait for each other forever. Set zero=zero2."
        )
    return messages


def _prefix_problems(config: DictConfig) -> list[str]:
    args, messages = config.trainer.args, []
    if args.get("gradient_checkpointing"):
        messages.append(
            "trainer.args.gradient_checkpointing=true does not work with peft=prefix: the trained keys and values "
            "are passed in a cache, which recomputation would fill twice. Set it to false, or use peft=prompt."
        )
    if not config.peft.get("prefix_projection"):
        return messages
    if args.get("load_best_model_at_end") or args.get("save_strategy") != "no":
        messages.append(
            "peft.prefix_projection=true: PEFT saves the projection's result and not the projection, so that "
            "training cannot resume from a checkpoint. Set trainer.args.save_strategy=no and "
            "trainer.args.load_best_model_at_end=false, or peft.prefix_projection=false."
        )
    if not config.peft.get("encoder_hidden_size"):
        messages.append(
            "peft.prefix_projection=true needs the projection's width: peft.encoder_hidden_size=512."
        )
    return messages


def _adalora_problems(config: DictConfig) -> list[str]:
    target, start = config.peft.get("target_r", 8), config.peft.get("init_r", 12)
    messages = []
    if config.zero:
        messages.append(
            "peft=adalora allocates ranks by the gradients of each step, which DeepSpeed clears before: set "
            "zero=none, or use peft=lora."
        )
    if isinstance(target, int) and isinstance(start, int) and target >= start:
        messages.append(
            f"peft.target_r={target} must be below peft.init_r={start}: AdaLoRA shrinks ranks from init_r to "
            "target_r."
        )
    return messages


def unmergeable(method: str) -> str:
    """The message about ``export.merge`` with a method that learns virtual tokens."""
    return (
        f"export.merge=true: {method} learns virtual tokens, which are inputs and not weights, so they "
        "cannot be merged. Set export.merge=false to export the adapter."
    )


def shown_parts(adapt: str | Sequence[str]) -> str:
    """The value of ``adapt`` as on the command line."""
    names = [adapt] if isinstance(adapt, str) else adapt
    return names[0] if len(names) == 1 else f"[{','.join(names)}]"
