"""What ``checkpoint=PATH`` points to: a run, a model or an adapter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from dramaeval.models.errors import ModelError


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
        ModelError: there is none; the message says what was looked for.
    """
    given = Path(path).expanduser()
    for folder in (given, given / "model", given / "export"):
        if (folder / "adapter_config.json").is_file():
            return Checkpoint(folder, adapter=True)
        if (folder / "config.json").is_file():
            return Checkpoint(folder, adapter=False)
    what = (
        "does not exist" if not given.exists() else "holds neither a run nor a model nor an adapter"
    )
    raise ModelError(
        f"checkpoint={path} {what}. Give a run folder (with model/ in it), a model folder (with config.json) "
        "or an adapter folder (with adapter_config.json). A run that was interrupted before its end is resumed "
        "by hydra.run.dir, not by checkpoint."
    )


def base_of(adapter: Path) -> str | None:
    """The base that an adapter was trained on, as its configuration names it."""
    values = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    return values.get("base_model_name_or_path")
