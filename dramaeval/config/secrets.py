"""Keeps secrets out of files: `masked` and `without_secrets` mask values and texts before they are saved, logged or sent.

A secret is recognised by the name of its setting or variable, by the value of such a variable, or by its form: keys
of common services, passwords in addresses, assignments like ``HF_TOKEN=…``.
"""

from __future__ import annotations

import html
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.literal import plain
from dramaeval.config.problems import ConfigError
from dramaeval.distributed.replacing import replacing

log = logging.getLogger(__name__)

HIDDEN = "(hidden)"

# Not every *_token is a secret: eos_token and pad_token are tokens of a vocabulary.
_SETTING_NAME = (
    r"(?:api_?key|secret(?:_key)?|password|passwd|passphrase|(?:hub|hf|access|auth|bearer)_?token)"
)
_VARIABLE_NAME = (
    r"(?:API_?KEY|ACCESS_KEY|SECRET_KEY|PRIVATE_KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE)"
)
#: Names of settings that hold a secret.
_SETTING = re.compile(_SETTING_NAME + "$", re.I)
#: Names of environment variables that hold a secret.
_VARIABLE = re.compile(f"(?:{_VARIABLE_NAME}|_KEY)$")
#: Shorter values are not masked, since they could be parts of ordinary words.
_SHORTEST = 8
_ASSIGNED = (
    *("api_key=", "apikey=", "secret=", "secret_key=", "password=", "passwd=", "passphrase="),
    *(
        f"{kind}{joint}token="
        for kind in ("hub", "hf", "access", "auth", "bearer")
        for joint in ("", "_")
    ),
)
_VALUE = (
    r"""(?!null\b|true\b|false\b|\?\?\?)(?:'[^'\n]+'|"[^"\n]+"|[^\s'"$,;&}\])(][^\s'",;&}\])]*)"""
)
#: Secrets that are recognised by their form: for each form some words, and a pattern whose first group is kept. A text
#: without these words is not searched, since pages can have many megabytes. W&B keys of 40 hexadecimal digits are not
#: included, because commit hashes have the same form.
_FORMED: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = tuple(
    (words, re.compile(pattern, re.DOTALL))
    for words, pattern in (
        (("hf_",), r"(hf_(?<![A-Za-z0-9_]hf_))[A-Za-z0-9]{20,}"),
        (("sk-",), r"(sk-(?<![A-Za-z0-9_]sk-))[A-Za-z0-9_-]{20,}"),
        (("wandb_v1_",), r"(wandb_v1_)[A-Za-z0-9_]{20,}"),
        (("AKIA",), r"(AKIA(?<![A-Za-z0-9]AKIA))[A-Z0-9]{16}(?![A-Za-z0-9])"),
        (("ASIA",), r"(ASIA(?<![A-Za-z0-9]ASIA))[A-Z0-9]{16}(?![A-Za-z0-9])"),
        (("ghp_", "gho_", "ghs_", "ghu_", "ghr_"), r"(gh[opsur]_)[A-Za-z0-9]{30,}"),
        (("github_pat_",), r"(github_pat_)[A-Za-z0-9_]{30,}"),
        (("glpat-",), r"(glpat-)[A-Za-z0-9_-]{20,}"),
        (("AIza",), r"(AIza(?<![A-Za-z0-9]AIza))[A-Za-z0-9_-]{35}"),
        (("xox",), r"(xox[abeoprs]-)[A-Za-z0-9-]{10,}"),
        (("eyJ",), r"(eyJ)[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
        (("PRIVATE KEY",), r"(-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----).*?(?=-----END)"),
        (("://",), r"(://[^/\s:@'\"]*:)[^/\s@'\"]+(?=@)"),
        (("Bearer ", "Basic "), r"((?:Bearer|Basic) )[A-Za-z0-9._~+/=-]{16,}"),
        (("KEY=", "TOKEN=", "SECRET=", "PASS"), rf"({_VARIABLE_NAME}=){_VALUE}"),
        (_ASSIGNED, rf"(\b{_SETTING_NAME}=){_VALUE}"),
        (
            (*_ASSIGNED, "token=", "ignature="),
            rf"([?&](?i:[\w.-]*(?:{_SETTING_NAME}|token|signature)=))[^&\s'\"#<>]+",
        ),
    )
)
#: Settings that libraries save unmasked, in files of their own format.
_SAVED_BY_LIBRARIES = ("trainer.args", "peft")


def masked(value: Any, also: Iterable[str] = ()) -> Any:
    """Replace every secret in plain values, at any depth, by `HIDDEN`; the secrets ``also`` in every text."""
    return _masked(value, "", [*_forms(also), *_known()])


def without_secrets(text: str, also: Iterable[str] = ()) -> str:
    """Replace every secret in a text, and the secrets ``also``, by `HIDDEN`."""
    return _without(text, [*_forms(also), *_known()])


def mask_hydra_files(config: DictConfig, hydra: Any) -> None:
    """Mask the files that Hydra writes before a run begins: ``.hydra/*.yaml`` and ``multirun.yaml``."""
    also = _named_secrets(config, hydra).values()
    folder = Path(hydra.runtime.output_dir, hydra.output_subdir or ".hydra")
    for file in [*folder.glob("*.yaml"), Path(hydra.sweep.dir, "multirun.yaml")]:
        if file.is_file():
            mask_file(file, also)


def mask_file(file: Path, also: Iterable[str] = ()) -> None:
    """Mask the secrets in a YAML file; a file without secrets is not written."""
    values = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    safe = masked(values, also=also)
    if safe != values:
        with replacing(file) as unfinished:
            unfinished.write_text(OmegaConf.to_yaml(OmegaConf.create(safe)), encoding="utf-8")


def guard(config: DictConfig, hydra: Any = None) -> None:
    """Refuse settings whose names are those of secrets, and log a warning about values that look like secrets.

    ``job.env_set`` in Hydra's node can hold secrets too.

    Raises:
        ConfigError: lists the names of the settings, without their values.
    """
    named = _named_secrets(config, hydra)
    saved = [
        f"{part}.{key}"
        for part in _SAVED_BY_LIBRARIES
        if OmegaConf.is_config(node := OmegaConf.select(config, part))
        for key in _suspicious_keys(plain(node))
    ]
    for key in _suspicious_keys(_raw(config)):
        if key not in named and key not in saved:
            log.warning("%s seems to hold a secret; it is masked in saved files.", key)
    _refuse(named, [key for key in saved if key not in named])


def refuse(config: DictConfig, hydra: Any) -> None:
    """Refuse settings of a sweep that hold a secret, since its runs read their settings from files.

    Raises:
        ConfigError: lists the names of the settings, without their values.
    """
    named = _named_secrets(config, hydra)
    of_hydra = [key for key in _suspicious_keys(_raw(hydra)) if key.startswith(_OF_SWEEPS)]
    suspicious = [*_suspicious_keys(_raw(config)), *(f"hydra.{key}" for key in of_hydra)]
    _refuse(named, [key for key in suspicious if key not in named])


def names_secret(key: str) -> bool:
    """Whether a setting has the name of a secret; such settings are refused with special advice."""
    return _is_secret(key.rpartition(".")[2])


def refuse_words(words: Iterable[str]) -> None:
    """Refuse arguments of the command line, ``key=value``, that hold a secret.

    Raises:
        ConfigError: lists the names of the settings, without their values.
    """
    keys = [word.partition("=")[0].lstrip("+~") for word in words if without_secrets(word) != word]
    named = list(filter(names_secret, keys))
    _refuse(named, [key for key in keys if key not in named])


def _refuse(named: Iterable[str], suspicious: Iterable[str]) -> None:
    problems = [f"{key} is a secret: {_ADVICE}" for key in named]
    problems += [f"{key} seems to hold a secret: {_ADVICE}" for key in suspicious]
    if problems:
        raise ConfigError(problems)


_ADVICE = (
    "settings are saved in files. Put it into the environment (WANDB_API_KEY, HF_TOKEN) and leave the setting "
    "out, or refer to it as ${oc.env:NAME}."
)
#: The parts of Hydra's node that a user sets for a sweep; the other parts repeat them or name folders.
_OF_SWEEPS = ("job.env_set", "launcher", "sweeper")


def leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """The key and the value of every plain value at any depth."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, f"{where}.{key}" if where else str(key))
    else:
        yield where, value


def _masked(value: Any, key: str, known: list[str]) -> Any:
    if isinstance(value, dict):
        return {name: _masked(inner, str(name), known) for name, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner, key, known) for inner in value]
    if value is not None and not isinstance(value, bool) and _is_secret(key):
        return HIDDEN
    return _without(value, known) if isinstance(value, str) else value


def _without(text: str, known: Iterable[str]) -> str:
    for secret in known:
        text = text.replace(secret, HIDDEN)
    for words, pattern in _FORMED:
        if any(word in text for word in words):
            text = pattern.sub(rf"\1{HIDDEN}", text)
    return text


def _is_secret(name: str) -> bool:
    """Whether a setting, or a variable in ``hydra.job.env_set``, has the name of a secret."""
    return bool(_SETTING.search(name) or _VARIABLE.search(name))


def _known() -> list[str]:
    """The secrets in the environment, in every form in which a file may contain them; see `_forms`."""
    return _forms(
        value
        for name, value in os.environ.items()
        if _VARIABLE.search(name) and len(value) >= _SHORTEST and not os.path.isabs(value)
    )


def _forms(secrets: Iterable[str]) -> list[str]:
    """Secrets unchanged and as JSON, YAML, HTML and addresses escape them, the longest first."""
    forms = {
        form
        for secret in secrets
        for form in (
            secret,
            json.dumps(secret)[1:-1],
            json.dumps(secret, ensure_ascii=False)[1:-1],
            secret.replace("'", "''"),
            html.escape(secret),
            quote(secret),
            quote(secret, safe=""),
        )
        if form
    }
    return sorted(forms, key=len, reverse=True)


def _raw(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=False) if config is not None else {}


def _suspicious_keys(values: Any) -> list[str]:
    """The keys of texts that contain a secret, recognised by its value or form."""
    known = _known()
    return [
        key
        for key, text in leaves(values)
        if isinstance(text, str) and _without(text, known) != text
    ]


def _named_secrets(config: Any, hydra: Any) -> dict[str, str]:
    """The values of settings that have the name of a secret, by key; interpolations are left out."""
    values = [*leaves(_raw(config)), *leaves(_raw(hydra), "hydra")]
    return {
        key: str(value)
        for key, value in values
        if names_secret(key)
        and value not in (None, "", "???", HIDDEN)
        and not isinstance(value, bool)
        and "${" not in str(value)
    }
