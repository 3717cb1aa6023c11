"""What ``checkpoint=PATH`` points to: a run, a model or an adapter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from dramaeval.data.manifest import DamagedFileError, require_whole
from dramaeval.models.errors import ModelError

#: Bytes up to which the files of a model are settings and no weights.
_SETTINGS = 2**20


@dataclass(frozen=True)
class Checkpoint:
    """What ``checkpoint=PATH`` points to.

    Attributes:
        folder: the folder with the weights.
        adapter: whether these are a PEFT adapter rather than a full model.
    """

    folder: Path
    adapter: bool


def find_checkpoint(path: str) -> Checkpoint:
    """Find the model in a run folder, a model folder or an adapter folder.

    Raises:
        ModelError: there is none, or files of it are missing or cut off; the message says what was looked for.
    """
    given = Path(path).expanduser()
    for folder in (given, given / "model", given / "export"):
        for name in ("adapter_config.json", "config.json"):
            if (folder / name).is_file():
                check_whole(folder, up_to=_SETTINGS)
                return _described(folder, name)
    what = (
        "does not exist" if not given.exists() else "holds neither a run nor a model nor an adapter"
    )
    raise ModelError(
        f"checkpoint={path} {what}. Give a run folder (with model/ in it), a model folder (with config.json) "
        "or an adapter folder (with adapter_config.json). A run that was interrupted before its end is resumed "
        "by hydra.run.dir, not by checkpoint."
    )


def _described(folder: Path, name: str) -> Checkpoint:
    try:
        described = isinstance(json.loads((folder / name).read_text(encoding="utf-8")), dict)
    except ValueError:
        described = False
    if not described:
        raise ModelError(
            f"{folder / name} is damaged: it holds no JSON object. Restore it from a copy."
        )
    return Checkpoint(folder, adapter=name != "config.json")


def check_whole(folder: Path, *, up_to: int | None = None) -> None:
    """Stop where the files of a model that was trained here are damaged.

    Args:
        folder: of the model; what others have made has no manifest and is not checked.
        up_to: see `damage_in`; None reads all files, as is due before weights load.

    Raises:
        ModelError: naming every file.
    """
    try:
        require_whole(folder, up_to=up_to)
    except DamagedFileError as error:
        raise ModelError(str(error)) from None


def base_of(adapter: Path) -> str | None:
    """The base that an adapter was trained on, as its configuration names it."""
    values = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    return values.get("base_model_name_or_path")
