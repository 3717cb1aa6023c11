"""Reads WebDataset archives, Kaldi data folders, and folders of audio files."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.data.import_formats import AUDIO_ENDINGS, SHARDED, shards
from dramaeval.data.problems import counted
from dramaeval.importing.extracted_audio import AudioFolder
from dramaeval.importing.problems import BadSourceError
from dramaeval.importing.rows import Row, Table
from dramaeval.importing.sharded_folder import NAMES
from dramaeval.importing.text_table import decoded


def read_webdataset(file: Path, settings: ImporterConfig, clips: AudioFolder) -> Table:
    """Read a tar archive; members whose names are equal up to the first dot form a sample.

    An audio member becomes the column ``clip``; the keys of a ``.json`` member become columns; any other member becomes
    a column of text that is named by its ending, such as ``txt``. The audio member and the name of the sample take
    precedence over keys ``clip`` and ``__key__`` of a ``.json`` member.

    Raises:
        BadSourceError: the file is not a tar archive, or has no samples.
    """
    table = Table(columns=["__key__", "clip"])
    samples: dict[str, dict[str, Any]] = {}
    problems: dict[str, list[str]] = {}
    try:
        with tarfile.open(file) as archive:
            for key, ending, content in _members(archive):
                sample = samples.setdefault(key, {"__key__": key})
                try:
                    fields = _fields(key, ending, content, clips)
                except ValueError as error:
                    problems.setdefault(key, []).append(f"{ending}: {error}")
                    continue
                if f".{ending}" in AUDIO_ENDINGS:
                    sample |= fields
                for name, value in fields.items():
                    sample.setdefault(name, value)
    except (tarfile.TarError, OSError) as error:
        fix = "give a complete tar archive"
        raise BadSourceError.of_file(file, f"not a tar archive ({error})", fix) from None
    for number, (key, values) in enumerate(samples.items(), 1):
        row = Row(file=file, number=number, values=values)
        table.append(row)
        for problem in problems.get(key, []):
            table.problems.append(row.problem(None, problem, "correct this member", key))
    if not samples:
        raise BadSourceError.of_file(file, "the archive has no samples", "give another archive")
    return table


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, str, bytes]]:
    """The key, the ending and the content of each regular file; paths in the archive are not used for writing."""
    for member in archive:
        folder, _, name = member.name.rpartition("/")
        stem, _, ending = name.partition(".")
        if not member.isfile() or not stem or not ending:
            continue
        stream = archive.extractfile(member)
        if stream is not None:
            key = PurePosixPath("/", folder, stem).as_posix()[1:]
            yield key, ending.lower(), stream.read()


def _fields(key: str, ending: str, content: bytes, audio: AudioFolder) -> dict[str, Any]:
    if f".{ending}" in AUDIO_ENDINGS:
        return {"clip": audio.write(f"{key.replace('/', '_')}.{ending}", content)}
    if ending == "json":
        values = json.loads(content)
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        return values
    return {ending: content.decode("utf-8").strip()}


def read_kaldi(file: Path, settings: ImporterConfig, clips: AudioFolder) -> Table:
    """Read a Kaldi data folder: ``wav.scp``, ``text`` and every ``utt2…`` file.

    Columns are ``id``, ``clip``, ``text`` and the names of the ``utt2…`` files; ``utt2spk`` becomes ``speaker``.
    Commands in ``wav.scp`` are never run; they are reported as problems.

    Raises:
        BadSourceError: ``wav.scp`` is missing, or ``segments`` divides the recordings.
    """
    if (file / "segments").exists():
        fix = "cut the recordings into one file for each utterance"
        raise BadSourceError.of_file(file / "segments", "segments are not read", fix)
    scp = file / "wav.scp"
    further = {"text": _pairs(file / "text", settings)} if (file / "text").is_file() else {}
    for path in sorted(file.glob("utt2*")):
        further["speaker" if path.name == "utt2spk" else path.name] = _pairs(path, settings)
    table = Table(columns=["id", "clip", *further])
    for number, (key, clip) in enumerate(_pairs(scp, settings).items(), 1):
        values = {"id": key, "clip": clip} | {
            name: pairs[key] for name, pairs in further.items() if key in pairs
        }
        row = Row(file=scp, number=number, values=values)
        if clip.endswith("|"):
            fix = "write the audio to a file, and its path into wav.scp"
            table.problems.append(row.problem("clip", f"{clip!r} is a command", fix, key))
        table.append(row)
    return table


def read_audio_folder(file: Path, settings: ImporterConfig, clips: AudioFolder) -> Table:
    """List the audio files of a folder, at any depth.

    Columns are ``clip`` (the path inside the folder), ``name`` and ``folder``.

    Raises:
        BadSourceError: the folder has no audio file.
    """
    files = sorted(p for p in file.rglob("*") if p.suffix.lower() in AUDIO_ENDINGS and p.is_file())
    if not files:
        raise BadSourceError.of_file(file, "no audio file", "give a folder with audio files")
    table = Table(columns=["clip", "name", "folder"])
    for number, path in enumerate(files, 1):
        inside = path.relative_to(file)
        folder = "" if inside.parent == Path() else inside.parent.as_posix()
        values = {"clip": inside.as_posix(), "name": path.stem, "folder": folder}
        table.append(Row(file=file, number=number, values=values))
    for kind in SHARDED:
        if others := shards(file, kind):
            table.notices.append(
                f"{counted(len(others), f'{NAMES[kind]} file')} beside the audio not read: importer.format={kind} reads "
                f"{NAMES[kind]} in place of the folder's audio."
            )
    return table


def _pairs(path: Path, settings: ImporterConfig) -> Mapping[str, str]:
    """The values of a Kaldi file by key; a line is a key, white space, and the value."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(decoded(path, settings.encoding).split("\n"), 1):
        key, _, value = line.strip().replace("\t", " ", 1).partition(" ")
        if not key:
            continue
        if key in pairs:
            fix = "keep one line for each key"
            raise BadSourceError.of_file(path, f"line {number}: {key!r} stands twice", fix)
        pairs[key] = value.strip()
    return pairs
