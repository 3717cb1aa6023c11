"""Settings that are sound each by itself and do not go together: methods, parts, quantisation, stages."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.keys import resolve_target
from dramaeval.config.schema import Stage


def check_combinations(config: DictConfig) -> list[str]:
    """What cannot run together, each with its reason and its fix."""
    trains = Stage.train in config.stages
    problems: list[str] = []
    if config.model.get("head", "vocabulary") not in HEADS:
        problems.append(
            f"model.head={config.model.head} is not known; choose one of {', '.join(HEADS)}."
        )
    if trains:
        problems += _check_quantization(config)
        problems += _check_parts(config)
        if config.peft:
            problems += _check_method(config)
    return problems


def is_a(node: Mapping[str, Any] | None, names: tuple[str, ...]) -> bool:
    """Whether a PEFT node's class is, or extends, one of PEFT's classes of these names."""
    if not node or "_target_" not in node:
        return False
    classes = getattr(resolve_target(node["_target_"]), "__mro__", ())
    return any(one.__name__ in names for one in classes)


def left_open(peft: Mapping[str, Any], key: str) -> bool:
    """Whether a null stands for what the run works out itself: AdaLoRA's phases."""
    return peft[key] is None and key in ("total_step", "tinit", "tfinal")


HEADS = ("vocabulary", "regression")
PREFIX, PROMPT = ("PrefixTuningConfig",), ("PromptTuningConfig",)


def _check_method(config: DictConfig) -> list[str]:
    """What PEFT's method needs of the rest."""
    peft, args, problems = config.peft, config.trainer.args, []
    if is_a(peft, ("PromptLearningConfig",)):
        if not is_a(peft, PREFIX + PROMPT):
            problems.append(
                f"peft._target_={peft['_target_']}: of the methods that learn virtual tokens only prefix and "
                "prompt tuning are supported: use peft=prefix or peft=prompt."
            )
        if config.model.get("head") == "regression":
            problems.append(
                "model.head=regression trains a layer beside the adapter, which PEFT does not keep for methods "
                "that learn virtual tokens: use another method, for example peft=lora."
            )
        if _parts(config.adapt) != ["llm"]:
            problems.append(
                f"adapt={_said(config.adapt)}: virtual tokens stand in front of what the language model reads; "
                "the audio tower and the projector have no place for them. Set adapt=llm, or use another "
                "method, for example peft=lora."
            )
        if _splits_weights(config):
            # Seen with DeepSpeed 0.19: the processes part ways in the forward pass and wait for ever.
            problems.append(
                "zero=zero3 gathers each layer's weights as the layer runs, and virtual tokens are read beside "
                "the layers: the processes would wait for each other without end. Set zero=zero2."
            )
    if is_a(peft, PREFIX):
        problems += _check_prefix(config)
    if is_a(peft, ("AdaLoraConfig",)):
        if config.zero:
            problems.append(
                "peft=adalora moves ranks by the gradients of each step, which DeepSpeed has cleared by then: "
                "set zero=none, or use peft=lora."
            )
        if peft.get("target_r", 8) >= peft.get("init_r", 12):
            problems.append(
                f"peft.target_r={peft.get('target_r', 8)} must be below peft.init_r={peft.get('init_r', 12)}: "
                "AdaLoRA shrinks ranks from init_r to target_r."
            )
    if args.get("gradient_checkpointing") and is_a(peft, PREFIX):
        problems.append(
            "trainer.args.gradient_checkpointing=true does not go with peft=prefix: the learnt keys and values "
            "travel in a cache, which recomputation would fill twice. Set it to false, or use peft=prompt."
        )
    return problems


def _check_prefix(config: DictConfig) -> list[str]:
    if not config.peft.get("prefix_projection"):
        return []
    args, problems = config.trainer.args, []
    if args.get("load_best_model_at_end") or args.get("save_strategy") != "no":
        problems.append(
            "peft.prefix_projection=true: PEFT saves what the projection gives and not the projection, so that "
            "training cannot be taken up from a checkpoint. Set trainer.args.save_strategy=no and "
            "trainer.args.load_best_model_at_end=false, or peft.prefix_projection=false."
        )
    if not config.peft.get("encoder_hidden_size"):
        problems.append(
            "peft.prefix_projection=true needs the projection's width: peft.encoder_hidden_size=512."
        )
    return problems


def _check_parts(config: DictConfig) -> list[str]:
    """`adapt` against what `model.freeze_audio` and `model.train_projector` promise."""
    if not config.peft:
        return []
    named, problems = _parts(config.adapt), []
    for part, key, untouched in (
        ("audio", "freeze_audio", True),
        ("projector", "train_projector", False),
    ):
        if config.model.get(key) is untouched and {part, "all"} & set(named):
            problems.append(
                f"model.{key}={str(untouched).lower()} keeps the {part} as it is, but adapt="
                f"{_said(config.adapt)} trains an adapter in it: change one of the two."
            )
    return problems


def _check_quantization(config: DictConfig) -> list[str]:
    if not config.quantization:
        return []
    problems = []
    if not config.peft:
        problems.append(
            "quantization is set, but peft=none trains every weight, and quantised weights cannot be trained: "
            "choose an adapter, for example peft=qlora, or quantization=null."
        )
    if _splits_weights(config):
        problems.append(
            "zero=zero3 splits weights over the processes, which bitsandbytes has packed otherwise: set "
            "zero=zero2 or zero=none, or leave quantization out."
        )
    if find_spec("bitsandbytes") is None:
        problems.append("quantization needs a package that is missing: pip install bitsandbytes")
    return problems


def unmergeable(method: str) -> str:
    """Why a method that learns virtual tokens cannot be merged."""
    return (
        f"export.merge=true: {method} learns virtual tokens, which are inputs and not weights: there is "
        "nothing to merge. Set export.merge=false to export the adapter."
    )


def _splits_weights(config: DictConfig) -> bool:
    """Whether ZeRO-3 is asked for."""
    return bool(config.zero) and (config.zero.get("zero_optimization") or {}).get("stage") == 3


def _parts(adapt: Any) -> list[str]:
    return list(adapt) if OmegaConf.is_list(adapt) or isinstance(adapt, list) else [adapt]


def _said(adapt: Any) -> str:
    names = _parts(adapt)
    return str(names[0]) if len(names) == 1 else f"[{','.join(map(str, names))}]"
