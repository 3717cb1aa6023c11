"""``from=RUN``: the settings of an earlier run, except those that the user gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from dramaeval.config import registration
from dramaeval.config.config_folder import config_folder
from dramaeval.config.home_folder import expand_home
from dramaeval.config.keys import is_a, targets_in
from dramaeval.config.literal import literal, read_plain
from dramaeval.config.problems import ConfigError
from dramaeval.config.renamed_targets import read_saved
from dramaeval.config.secrets import HIDDEN, leaves
from dramaeval.config.trust import TRUSTED
from dramaeval.config.user_keys import is_given

#: Settings of how and where a run is executed, which a new run does not take from an earlier one.
_NOT_TAKEN = (
    "from", "plan", "plan_force", "plan_device", "plan_gpus", "plan_memory_gib",
    "debug", "sweep", "resume", "launch", "cache", "logger", "runs",
    "output", "shards", "shard", "importer.output", "model.cache", "model.offload_folder",
    "model.trust_remote_code", "export.push_to_hub", "serve",
)  # fmt: skip
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def with_settings_of_run(config: DictConfig, keys: tuple[str, ...]) -> DictConfig:
    """The settings of the run in ``from``, except those that the user gives.

    ``keys`` are those of the user's overrides; the key of a group (``peft=ia3``) stands for all its settings.

    Raises:
        ConfigError: the folder holds no run, its settings name classes from outside this package or the address of a
            model behind an endpoint, or the user also gives ``experiment=``.
    """
    source = config["from"]
    if "experiment" in keys:
        raise ConfigError(
            f"from={source} and experiment=… both give all settings: leave out one of them."
        )
    user = cast(dict[str, Any], OmegaConf.to_container(config, resolve=False, enum_to_str=True))
    hydra = user.pop("hydra", None)
    earlier = _read(expand_home(str(source)))
    if not config.launch.trust:
        _check_targets(earlier, user, source)
        _check_endpoint(earlier["model"], keys, source)
    known = {key: value for key, value in earlier.items() if key in user}
    values = _Overlay(earlier, keys).node("", user, known)
    if masked := [key for key, value in leaves(values) if HIDDEN in str(value)]:
        raise ConfigError(
            [
                f"from={source}: the value of {key} was masked when the run was saved: give it again."
                for key in masked
            ]
        )
    try:
        merged = cast(DictConfig, OmegaConf.merge(registration.root(), values, {"from": None}))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"from={source}: its config.yaml cannot be used: {reason}") from None
    if hydra is not None:
        with open_dict(merged), read_write(merged):
            merged.hydra = config.hydra
    OmegaConf.set_struct(merged, True)
    return merged


def _read(run: Path) -> dict[str, Any]:
    file = run / "config.yaml"
    try:
        values = read_saved(file)
    except OSError:
        raise ConfigError(
            f"from={run} holds no run: give a run folder, with a config.yaml in it."
        ) from None
    if not isinstance(values, dict) or not {"stages", "task", "model", "trainer"} <= set(values):
        raise ConfigError(f"from={run}: {file} holds no settings of a run.")
    return values


def _check_targets(earlier: Mapping[str, Any], user: Mapping[str, Any], source: Any) -> None:
    """Refuse classes that neither the config groups of this package nor the user's own settings name.

    Raises:
        ConfigError: lists every such class.
    """
    files = (read_plain(file) for file in config_folder().rglob("*.yaml"))
    bundled = (name for values in files for _, name in targets_in(values))
    known = {*TRUSTED, *bundled, *(name for _, name in targets_in(user))}
    problems = [
        f"from={source}: {key}={name} is not part of dramaeval, and building it would run its code. If you trust "
        "this run: launch.trust=true."
        for key, name in targets_in(earlier)
        if name not in known
    ]
    if problems:
        raise ConfigError(problems)


def _check_endpoint(model: Any, keys: tuple[str, ...], source: Any) -> None:
    """Refuse an address and the variable of its key that the user has not given.

    The run may be another person's, and its address would get the user's clips and the value of any variable.

    Raises:
        ConfigError: names the settings that the user has to give.
    """
    if not isinstance(model, Mapping) or not is_a(model, "ApiModel"):
        return
    missing = [key for key in ("base_url", "key_variable") if not is_given(f"model.{key}", keys)]
    if missing:
        variable = model.get("key_variable", "OPENAI_API_KEY")
        key = f" with the value of the environment variable {variable} as key" if variable else ""
        raise ConfigError(
            f"from={source} would send your clips to {model.get('base_url')}{key}: give "
            f"{' and '.join(f'model.{key}=…' for key in missing)}, or if you trust this run launch.trust=true."
        )


class _Overlay:
    """Merges the user's settings with those of an earlier run; the user's settings take precedence."""

    def __init__(self, earlier: Mapping[str, Any], keys: tuple[str, ...]) -> None:
        self.earlier = earlier
        self.keys = (*keys, *_NOT_TAKEN)

    def node(
        self, where: str, user: Mapping[Any, Any], earlier: Mapping[Any, Any]
    ) -> dict[Any, Any]:
        """Merge one node; a key that is missing in the result has its default value."""
        values = {}
        for key in {**earlier, **user}:
            path = f"{where}.{key}".lstrip(".")
            user_value, earlier_value = user.get(key), earlier.get(key)
            user_node = user_value if isinstance(user_value, dict) else None
            if is_given(path, self.keys) or self._refers_to(user_value, earlier_value):
                if key in user:
                    values[key] = user_value
            elif isinstance(earlier_value, dict):
                values[key] = self.node(path, user_node or {}, earlier_value)
            elif key in earlier:
                values[key] = literal(earlier_value)
            elif user_node is not None and any(name.startswith(f"{path}.") for name in self.keys):
                values[key] = self.node(path, user_node, {})
        return values

    def _refers_to(self, text: Any, earlier_value: Any) -> bool:
        """Whether a text is a reference like ``${task.objective}`` that the earlier settings resolve to the value."""
        reference = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
        if reference is None:
            return False
        value: Any = self.earlier
        for name in reference[1].split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value == earlier_value
