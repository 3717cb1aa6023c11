"""The short id of a configuration: equal settings have equal ids on every machine and with every launcher."""

from __future__ import annotations

import hashlib
import json
import os
import re
from enum import Enum
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from dramaeval.config.weights import model_identity

#: Settings of how and where a run is executed, which do not change its results.
_EXECUTION = {
    "hydra", "launch", "sweep", "resume", "cache", "from", "plan", "plan_force", "plan_device", "plan_gpus",
    "plan_memory_gib", "output", "serve",
}  # fmt: skip
#: Settings that are paths, absolute or relative.
_PATHS = {
    "model.offload_folder",
    *(f"importer.{name}" for name in ("file", "output", "audio_root")),
    *(f"task.data.{name}" for name in ("train", "val", "test", "sample", "audio_root")),
}
#: The prefix of a task of a mixture; its data are paths as those of a single task.
_PART = re.compile(r"^task\.tasks\.[^.]+\.")
#: Settings that name a model, as a folder or on the hub.
_MODELS = {"model.path", "model.audio", "model.text", "checkpoint"}
_LENGTH = 8
_PATH = object()


def run_id(config: DictConfig) -> str:
    """The first eight hexadecimal digits of the SHA-256 of the resolved configuration without paths.

    Three kinds of values are left out: settings that are paths (data, offload folder), all other absolute paths, and
    settings of how the run is executed (``hydra``, ``launch``, ``plan``). A model is identified by its content, not by
    its location (`dramaeval.config.weights.model_identity`). The id therefore does not depend on the folder, the
    machine or the launcher. Values may be missing.
    """
    plain = _plain(config, "")
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def _plain(node: Any, key: str) -> Any:
    if isinstance(node, DictConfig):
        inner = {name: f"{key}.{name!s}".lstrip(".") for name in node}
        values = {
            str(name): _value(node, name, full_key)
            for name, full_key in inner.items()
            if full_key not in _EXECUTION and _PART.sub("task.", full_key) not in _PATHS
        }
        return {name: value for name, value in values.items() if value is not _PATH}
    if isinstance(node, ListConfig):
        items = [_value(node, number, f"{key}.{number}") for number in range(len(node))]
        return [item for item in items if item is not _PATH]
    if isinstance(node, Enum):
        return node.name
    if isinstance(node, str) and os.path.isabs(os.path.expanduser(node)):
        return _PATH
    return node if isinstance(node, str | int | float | bool | None) else str(node)


def _value(node: Any, name: Any, key: str) -> Any:
    if OmegaConf.is_missing(node, name):
        return "???"
    if key in _MODELS and isinstance(node[name], str):
        return model_identity(node[name]) or _PATH
    return _plain(node[name], key)
