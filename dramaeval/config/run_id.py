"""The short id of a configuration: the same settings have the same id, wherever and however they are run."""

from __future__ import annotations

import hashlib
import json
import os
from enum import Enum
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

#: Settings that say how and where a run is carried out, not what it is.
_NOT_THE_RUN = frozenset({"hydra", "launch", "sweep", "resume", "plan", "plan_force", "cache"})
#: Settings that are paths, also where they are relative.
_PATHS = frozenset(
    {
        "checkpoint",
        "model.offload_folder",
        *(f"task.data.{name}" for name in ("train", "val", "test", "sample", "audio_root")),
    }
)
_LENGTH = 8
_PATH = object()


def run_id(config: DictConfig) -> str:
    """The first eight hexadecimal digits of the SHA-256 of the resolved configuration without paths.

    Left out are the settings that are paths (data, checkpoint, offload folder), every value that is an
    absolute path, and what only says how the run is carried out (``hydra``, ``launch``, ``plan``). So a clone
    in another folder, on another machine or under another launcher names the run alike.

    Args:
        config: composed; it may have missing values and hold Hydra's own node.
    """
    plain = _plain(config, "")
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def _plain(node: Any, key: str) -> Any:
    if isinstance(node, DictConfig):
        inner = {name: f"{key}.{name!s}".lstrip(".") for name in node}
        found = {
            str(name): _value(node, name, whole)
            for name, whole in inner.items()
            if whole not in _NOT_THE_RUN | _PATHS
        }
        return {name: value for name, value in found.items() if value is not _PATH}
    if isinstance(node, ListConfig):
        values = [_value(node, number, f"{key}.{number}") for number in range(len(node))]
        return [value for value in values if value is not _PATH]
    if isinstance(node, Enum):
        return node.name
    if isinstance(node, str) and os.path.isabs(os.path.expanduser(node)):
        return _PATH
    return node if isinstance(node, str | int | float | bool | None) else str(node)


def _value(node: Any, name: Any, key: str) -> Any:
    return "???" if OmegaConf.is_missing(node, name) else _plain(node[name], key)
