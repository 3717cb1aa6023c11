"""The folder that ``checkpoint=PATH`` points to: a run, a model or an adapter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from dramaeval.config.home_folder import expand_home
from dramaeval.config.weights import ADAPTER, MODEL, weights_folder
from dramaeval.data.manifest import DamagedFileError, require_undamaged
from dramaeval.models.errors import ModelError

#: Maximum size in bytes of a file with settings; larger files of a model have weights.
_SETTINGS = 2**20


@dataclass(frozen=True)
class Checkpoint:
    """A folder with weights, and whether these are a PEFT adapter instead of a full model."""

    folder: Path
    adapter: bool


def find_checkpoint(path: str) -> Checkpoint:
    """Find the model in a run folder, a model folder or an adapter folder.

    Raises:
        ModelError: there is no model, or a file of the model is missing or damaged.
    """
    folder = weights_folder(path)
    if folder is not None:
        is_adapter = (folder / ADAPTER).is_file()
        check_whole(folder, up_to=_SETTINGS)
        _check_json(folder / (ADAPTER if is_adapter else MODEL))
        return Checkpoint(folder, adapter=is_adapter)
    there = expand_home(path).exists()
    reason = "holds neither a run nor a model nor an adapter" if there else "does not exist"
    raise ModelError(
        f"checkpoint={path} {reason}. Give a run folder (with model/ in it), a model folder (with config.json) "
        "or an adapter folder (with adapter_config.json). A run that was interrupted before its end is resumed "
        "by hydra.run.dir, not by checkpoint."
    )


def _check_json(file: Path) -> None:
    try:
        damaged = not isinstance(json.loads(file.read_text(encoding="utf-8")), dict)
    except ValueError:
        damaged = True
    if damaged:
        raise ModelError(f"{file} is damaged: it holds no JSON object. Restore it from a copy.")


def check_whole(folder: Path, *, up_to: int | None = None) -> None:
    """Check the files of a model that dramaeval wrote; a model without a manifest is not checked.

    Args:
        folder: the folder of the model.
        up_to: size in bytes of the largest file to check; None checks all files.

    Raises:
        ModelError: files are damaged; the message names all of them.
    """
    try:
        require_undamaged(folder, up_to=up_to)
    except DamagedFileError as error:
        raise ModelError(str(error)) from None


def base_of(adapter: Path) -> str | None:
    """The base model of an adapter by its configuration; None if it names none."""
    values = json.loads((adapter / ADAPTER).read_text(encoding="utf-8"))
    return values.get("base_model_name_or_path")
