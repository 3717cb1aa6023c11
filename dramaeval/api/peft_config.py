"""`create_peft_config`: PEFT's configuration from the published YAML layout."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from hydra.utils import get_class

from dramaeval.config.keys import argument_names, check_arguments
from dramaeval.config.problems import ConfigError, near_match_hint, not_among

log = logging.getLogger(__name__)

#: PEFT's class and default arguments by method; methods with virtual tokens need the type of the model.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("peft.LoraConfig", {}),
    "qlora": ("peft.LoraConfig", {}),
    "adalora": ("peft.AdaLoraConfig", {}),
    "ia3": ("peft.IA3Config", {}),
    "prefix_tuning": ("peft.PrefixTuningConfig", {"task_type": "CAUSAL_LM"}),
    "prompt_tuning": ("peft.PromptTuningConfig", {"task_type": "CAUSAL_LM"}),
}


def create_peft_config(config: Mapping[str, Any]) -> Any | None:
    """Build PEFT's configuration from a ``peft:`` section of the published layout.

    Args:
        config: a mapping with ``enabled``, ``method`` and, under the name of the method, the arguments of PEFT's class;
            the arguments of other methods are checked and not used. A mapping with the key ``peft`` is valid too.
            Settings of quantisation in ``qlora`` (``load_in_4bit``, ``bnb_4bit_*``) belong to the loading of the
            model: they are left out with a warning.

    Returns:
        a ``peft.PeftConfig``, or None if ``enabled`` is false.

    Raises:
        ConfigError: lists every unknown or invalid key with near matches.
    """
    has_section = isinstance(config, Mapping) and "peft" in config and "method" not in config
    section = config["peft"] if has_section else config
    if not isinstance(section, Mapping):
        raise ConfigError(f"peft must be a mapping with enabled and method, not {section!r}.")
    if problems := _problems(section):
        raise ConfigError(problems)
    if not section.get("enabled", True):
        return None
    method = section["method"]
    given = section.get(method) or {}
    (target, defaults), arguments = METHODS[method], _peft_arguments(method, given)
    if left_out := sorted(given.keys() - arguments.keys()):
        log.warning(
            "peft.qlora.%s: not part of PEFT's configuration; load the model with these settings.",
            ", ".join(left_out),
        )
    try:
        return get_class(target)(**{**defaults, **arguments})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"peft.{method}: {error}") from None


def _problems(section: Mapping[str, Any]) -> list[str]:
    known = ["enabled", "method", *METHODS]
    problems = []
    for key in section:
        if key not in known:
            hint = near_match_hint(str(key), known)
            problems.append(f"peft.{key} is not known; choose one of {', '.join(known)}.{hint}")
    enabled = section.get("enabled", True)
    if not isinstance(enabled, bool):
        problems.append(f"peft.enabled={enabled!r} must be true or false.")
    method = section.get("method")
    if method is None and enabled:
        problems.append(f"peft.method is missing: choose one of {', '.join(METHODS)}.")
    elif method is not None and not (isinstance(method, str) and method in METHODS):
        problems.append(not_among("peft.method", method, METHODS))
    for name in METHODS:
        arguments = section.get(name)
        if arguments is None:
            continue
        if not isinstance(arguments, Mapping):
            problems.append(f"peft.{name} must be a mapping, not {arguments!r}.")
            continue
        node = {"_target_": METHODS[name][0], **_peft_arguments(name, arguments)}
        problems += check_arguments(node, f"peft.{name}")
    return problems


def _peft_arguments(method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of PEFT's class, without the settings for loading a quantised model."""
    left_out = quantization_keys() if method == "qlora" else ()
    return {key: value for key, value in arguments.items() if key not in left_out}


def quantization_keys() -> set[str]:
    """The arguments of transformers' `BitsAndBytesConfig`, which a qlora section holds in addition to LoRA's."""
    from transformers import BitsAndBytesConfig

    return set(argument_names(BitsAndBytesConfig))
