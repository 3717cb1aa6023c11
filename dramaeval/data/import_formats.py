"""Recognises by their names the files and folders that `dramaeval.importing` reads."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dramaeval.config.home_folder import expand_home

AUDIO_ENDINGS = (
    ".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".mp4", ".aac", ".webm", ".aiff", ".aif", ".au", ".sph", ".w64",
)  # fmt: skip
#: The format of each ending.
ENDINGS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".xlsx": "excel", ".xlsm": "excel", ".jsonl": "jsonl",
    ".json": "label_studio", ".parquet": "parquet", ".tar": "webdataset",
}  # fmt: skip
#: Files with these endings are never JSON Lines; other files are converted only if ``importer.format`` is set.
OTHER_FORMATS = (".csv", ".tsv", ".xlsx", ".xlsm", ".parquet", ".tar")

#: Formats whose data sets may be a folder of several files, with the ending of these files.
SHARDED = {"parquet": ".parquet", "webdataset": ".tar"}
#: Prefix of the name of a data set on the Hugging Face hub.
HUB = "hf:"
#: The form of such a name, for messages.
HUB_FORM = "hf:OWNER/NAME, with @REVISION and :SUBSET if you need them"
_LIKE_HUB = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_name(file: str | Path) -> bool:
    """Whether a text names a data set on the Hugging Face hub."""
    return str(file).startswith(HUB)


def hub_hint(file: str | Path) -> str:
    """For a path that does not exist but looks like a hub name, a sentence that tells how to write it; else empty."""
    if not _LIKE_HUB.fullmatch(str(file)) or Path(file).suffix.lower() in ENDINGS:
        return ""
    return f" A data set of the Hugging Face hub is named {HUB}{file}."


def folder_format(file: Path, importer_format: str | None = None) -> str | None:
    """The format of a folder by its content: kaldi, datasets, audio_folder or one of `SHARDED`; None for other paths.

    Args:
        file: the folder, or the name of a data set on the hub, which has the format datasets.
        importer_format: ``importer.format``; one of `SHARDED` is preferred to audio files in the same folder.
    """
    if is_hub_name(file):
        return "datasets"
    if not file.is_dir():
        return None
    if (file / "wav.scp").is_file():
        return "kaldi"
    if (file / "dataset_info.json").is_file() or (file / "dataset_dict.json").is_file():
        return "datasets"
    if importer_format in SHARDED and shards(file, importer_format):
        return importer_format
    names = (name for _, _, names in os.walk(file) for name in names)
    if any(name.lower().endswith(AUDIO_ENDINGS) for name in names):
        return "audio_folder"
    return next((kind for kind in SHARDED if shards(file, kind)), None)


def shards(folder: Path, kind: str) -> list[Path]:
    """The files of a format in `SHARDED` at any depth, sorted by name, without hidden files and folders."""
    files = (file for file in folder.rglob("*") if file.suffix.lower() == SHARDED[kind])
    inside = sorted(file.relative_to(folder) for file in files if file.is_file())
    return [
        folder / file for file in inside if not any(part.startswith(".") for part in file.parts)
    ]


def is_source(file: str | Path, importer_format: str | None) -> bool:
    """Whether a path names a file or folder that the importer reads, and not a JSON Lines file.

    ``importer.format`` counts for files whose name does not show the format.
    """
    path = expand_home(file)
    if is_hub_name(file):
        return True
    if path.is_dir():
        return importer_format is not None or folder_format(path) is not None
    if path.suffix.lower() in OTHER_FORMATS:
        return True
    format_of_ending = ENDINGS.get(path.suffix.lower(), importer_format)
    return importer_format not in (None, "jsonl") and format_of_ending == importer_format
