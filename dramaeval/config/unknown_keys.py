"""Finds unknown keys of a command line and of a composed configuration, with the valid keys that they resemble.

No heavy library is imported, so that a misspelt key is reported at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_type_hints

from hydra.conf import HydraConf
from omegaconf import DictConfig

from dramaeval.config import fields
from dramaeval.config.config_folder import command_name, config_folder
from dramaeval.config.fields import OpenNode, is_missing, settings_of
from dramaeval.config.problems import did_you_mean, near_matches
from dramaeval.config.schema import Root
from dramaeval.config.secrets import names_secret
from dramaeval.config.source_arguments import arguments_in_source
from dramaeval.config.task_schema import TASK_KEYS

#: Options of Hydra's command line that take a value.
OPTIONS_WITH_VALUE = {
    *("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--package", "-p", "--cfg", "-c", "--info", "-i", "--experimental-rerun"),
}
#: Nodes whose keys are the arguments of a class, with the class in the default configuration.
_LIBRARIES = {
    "trainer.args": "trl.SFTConfig",
    "peft": "peft.LoraConfig",
    "quantization": "transformers.BitsAndBytesConfig",
    # The node exists only if the file of the group is chosen.
    "callbacks=early_stopping callbacks.early_stopping": (
        "dramaeval.training.callbacks.early_stopping.EarlyStopping"
    ),
}
#: Keys that a node accepts in addition to the arguments of its class.
_ADDITIONAL = {"task": TASK_KEYS, "trainer": ("args",)}


def problems_of_words(words: Sequence[str]) -> list[str]:
    """A problem for each key on a command line that is neither a setting nor a config group.

    If the words name a configuration other than ``launch``, no key is reported.
    """
    options, overrides = _split(words)
    if any(option == "-cn" or option.startswith("--config-name") for option in options):
        return []
    has_user_folder = any(option.startswith(("--config-d", "-cd")) for option in options) or any(
        "hydra.searchpath" in word for word in overrides
    )
    keys = [word.partition("=")[0].lstrip("+~").partition("@")[0] for word in overrides]
    problems = (
        _problem_of_key(key, knows_all_groups=not has_user_folder)
        for key in keys
        if not names_secret(key)
    )
    return [problem for problem in problems if problem]


def is_setting(key: str) -> bool:
    """Whether a setting or a config group has this name, which has no dots."""
    return _problem_of_key(key, knows_all_groups=True) is None


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate the options of a command line from its overrides."""
    options: list[str] = []
    overrides: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        is_option = word.startswith("-") or before in OPTIONS_WITH_VALUE
        (options if is_option else overrides).append(word)
    return options, overrides


def _problem_of_key(key: str, *, knows_all_groups: bool) -> str | None:
    """The problem of a key without prefix (``+``, ``~``); a configuration folder of the user may add groups."""
    first = key.partition(".")[0]
    groups = {path.name for path in config_folder().iterdir() if path.is_dir()}
    known = {*settings_of(Root), *groups, "hydra"}  # not every group is the name of a setting
    if "/" in key:
        return _unknown_group(key) if knows_all_groups else None
    if first not in known:
        return f"{key} is not a setting.{_hint(key, sorted(known))}"
    if first == "hydra":
        return _unknown_in_hydra(key)
    schema: type | None = Root
    where = ""
    for name in key.split("."):
        if schema is None:
            return None  # the remaining keys are arguments of a class, or any names
        settings = settings_of(schema)
        if name not in settings:
            if issubclass(schema, OpenNode) or not where:
                return None
            hint = _hint(name, list(settings), where)
            return f"{where}.{name} is not a setting; there are {', '.join(settings)}.{hint}"
        where = f"{where}.{name}".lstrip(".")
        schema = settings[name].nested
    return None


def _unknown_group(key: str) -> str | None:
    """The problem of a config group that does not exist."""
    top = config_folder()
    groups = [path.relative_to(top).as_posix() for path in sorted(top.rglob("*")) if path.is_dir()]
    if key in groups or key.startswith("hydra/"):
        return None
    nested = [group for group in groups if "/" in group]
    return f"{key} is not a config group.{did_you_mean(near_matches(key, nested))}"


def _unknown_in_hydra(key: str) -> str | None:
    """The problem of a key of Hydra's own configuration."""
    schema: Any = HydraConf
    where = "hydra"
    for name in key.split(".")[1:]:
        if not dataclasses.is_dataclass(schema):
            return None  # plugins report unknown options themselves
        known = [field.name for field in dataclasses.fields(schema)]
        if name not in known:
            near = did_you_mean([f"{where}.{match}" for match in near_matches(name, known)])
            return f"{where}.{name} is not a setting of Hydra.{near}"
        where, schema = f"{where}.{name}", get_type_hints(schema)[name]
    return None


def _hint(key: str, siblings: Sequence[str], where: str = "") -> str:
    """The text `` Did you mean KEY?`` with the valid full keys that an unknown key resembles."""
    first, dot, rest = key.partition(".")
    leaf = key.rpartition(".")[2]
    dotted = f"{where}." if where else ""
    # A key of this node that is not among the siblings is an argument of another class.
    elsewhere = {
        name: [full for full in keys if not where or full.rpartition(".")[0] != where]
        for name, keys in _full_keys().items()
    }
    same = elsewhere.get(key, [])
    close = [] if same and where else near_matches(first, siblings, 0.9 if same else 0.6)
    near = [*(f"{dotted}{name}{dot}{rest}" for name in close), *same]
    if not near:
        near = [full for name in near_matches(leaf, elsewhere, 0.7) for full in elsewhere[name]]
    return did_you_mean(near) or ("" if where else f" {command_name()} --help lists the settings.")


def _full_keys() -> dict[str, list[str]]:
    """The full keys of all settings and of the libraries' arguments, by their last part."""
    keys: dict[str, list[str]] = {}
    declared = [setting.key for setting in fields.all_settings(Root)]
    for node, target in _LIBRARIES.items():
        declared += [f"{node}.{name}" for name in arguments_in_source(target) or ()]
    for key in dict.fromkeys(declared):
        keys.setdefault(key.rpartition(".")[2], []).append(key)
    return keys


def problems_of_arguments(
    config: DictConfig, reserved: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """A problem for each key of a node with a ``_target_`` that is not an argument of the class, according to its source.

    ``reserved`` are further keys by node, which a later check reports with better advice.
    """
    problems = []
    for where, node in _nodes(config):
        known = arguments_in_source(str(node["_target_"]))
        if known is None:
            continue
        valid = {*known, *_additional_keys(where), *(reserved or {}).get(where, ())}
        names = f" There are {', '.join(known)}."
        problems += [
            f"{where}.{key} is not an argument of {node['_target_']}."
            f"{_other_tasks(str(key), where) or _hint(str(key), known, where) or names}"
            for key in node
            if not str(key).startswith("_") and key not in valid
        ]
    return problems


def _other_tasks(key: str, where: str) -> str:
    """The text that a key is a setting of other tasks, which have to be named too, also with ``checkpoint=…``."""
    files = sorted((config_folder() / "task").glob("*.yaml")) if where == "task" else []
    names = [f"task={file.stem}" for file in files if f"\n{key}:" in file.read_text("utf-8")]
    return f" It is a setting of {', '.join(names)}: name the task too." if names else ""


def _additional_keys(where: str) -> Sequence[str]:
    if where.startswith("trainer.rewards."):
        return ("weight",)
    if where.startswith("task.tasks.") and where.count(".") == 2:
        return TASK_KEYS
    return _ADDITIONAL.get(where, ())


def _nodes(node: Any, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node with a ``_target_`` at any depth, except in Hydra's node."""
    if not isinstance(node, Mapping):
        return
    if isinstance(node.get("_target_") if not is_missing(node, "_target_") else None, str):
        yield where, node
    for key in node:
        if not is_missing(node, key) and (where or key != "hydra"):
            yield from _nodes(node[key], f"{where}.{key}".lstrip("."))
