"""PEFT's configuration from the published YAML layout."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from dramaeval.config.keys import argument_names, check_arguments
from dramaeval.config.problems import ConfigError

log = logging.getLogger(__name__)

#: Method → PEFT's class, and what a section may leave out. Prompts need to know the kind of model.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("peft.LoraConfig", {}),
    "qlora": ("peft.LoraConfig", {}),
    "adalora": ("peft.AdaLoraConfig", {}),
    "ia3": ("peft.IA3Config", {}),
    "prefix_tuning": ("peft.PrefixTuningConfig", {"task_type": "CAUSAL_LM"}),
    "prompt_tuning": ("peft.PromptTuningConfig", {"task_type": "CAUSAL_LM"}),
}


def create_peft_config(config: Mapping[str, Any]) -> Any | None:
    """PEFT's configuration from a ``peft:`` section of the published layout.

    Args:
        config: ``enabled``, ``method`` and a section named after the method with arguments of PEFT's class;
            sections of other methods may stand beside it. A whole file's mapping with ``peft`` in it will do.
            Settings of the quantisation in ``qlora`` (``load_in_4bit``, ``bnb_4bit_*``) say how the model is
            loaded and are no part of what is returned; a warning says so.

    Returns:
        a ``peft.PeftConfig``, or None where ``enabled`` is false.

    Raises:
        ConfigError: with every unknown or wrong key, and near matches.
    """
    if not isinstance(config, Mapping):
        raise ConfigError([f"peft must be a mapping with enabled and method, not {config!r}."])
    section = config["peft"] if "peft" in config and "method" not in config else config
    if not isinstance(section, Mapping):
        raise ConfigError([f"peft must be a mapping with enabled and method, not {section!r}."])
    problems = _problems(section)
    if problems:
        raise ConfigError(problems)
    if not section.get("enabled", True):
        return None
    method = section["method"]
    if method == "qlora" and (apart := quantization_keys() & set(section.get(method) or {})):
        log.warning(
            "peft.qlora.%s: not part of PEFT's configuration; load the model accordingly.",
            ", ".join(sorted(apart)),
        )
    target, given = METHODS[method]
    arguments = {**given, **_own(method, section.get(method) or {})}
    from hydra.utils import get_class

    try:
        return get_class(target)(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError([f"peft.{method}: {error}"]) from None


def _problems(section: Mapping[str, Any]) -> list[str]:
    known = ["enabled", "method", *METHODS]
    problems = []
    for key in section:
        if key not in known:
            problems.append(f"peft.{key} is not known; {_near(str(key), known)}")
    enabled = section.get("enabled", True)
    if not isinstance(enabled, bool):
        problems.append(f"peft.enabled={enabled!r} must be true or false.")
    method = section.get("method")
    if method is None and enabled:
        problems.append(f"peft.method is missing: choose one of {', '.join(METHODS)}.")
    elif method is not None and not (isinstance(method, str) and method in METHODS):
        problems.append(f"peft.method={method} is not known; {_near(str(method), list(METHODS))}")
    for name in METHODS:
        arguments = section.get(name)
        if arguments is None:
            continue
        if not isinstance(arguments, Mapping):
            problems.append(f"peft.{name} must be a mapping, not {arguments!r}.")
            continue
        own = _own(name, arguments)
        problems += check_arguments({"_target_": METHODS[name][0], **own}, f"peft.{name}")
    return problems


def _own(method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A section without what concerns loading a quantised model."""
    if method != "qlora":
        return dict(arguments)
    apart = quantization_keys()
    return {key: value for key, value in arguments.items() if key not in apart}


def quantization_keys() -> set[str]:
    """Arguments of transformers' `BitsAndBytesConfig`, which qlora sections hold beside LoRA's."""
    from transformers import BitsAndBytesConfig

    return set(argument_names(BitsAndBytesConfig))


def _near(word: str, known: list[str]) -> str:
    near = get_close_matches(word, known, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"choose one of {', '.join(known)}.{hint}"
