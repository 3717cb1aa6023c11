"""Turns the clips of ``input=…`` (files, folders, globs, tables, standard input) into sources of records.

An audio file becomes a record without texts. A record without a text takes it from ``texts.NAME=…``.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.composition import chosen_files
from dramaeval.config.config_folder import command_name
from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.config.literal import literal
from dramaeval.config.problems import ConfigError, near_match_hint
from dramaeval.config.schema import PACKAGE, Stage
from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.data.import_formats import AUDIO_ENDINGS, folder_format, is_source
from dramaeval.data.problems import BadRecordsError
from dramaeval.data.turns import NONE, TURNS
from dramaeval.data.unicode_paths import stored_path
from dramaeval.distributed.processes import SINGLE_PROCESS, Processes
from dramaeval.stages.converted_sources import INPUT, Source, input_items
from dramaeval.tasks.task import Task
from dramaeval.tasks.text_names import all_names, keys_by_name, required_names

#: The item that stands for standard input.
STDIN = "-"
#: The item that stands for a clip of the bundled sample, with its texts.
DEMO = "demo"
#: The key of records with the prompt of a clip, if the clip is in the folder of a system.
PROMPT = "file_in_system"
_SAMPLES = tuple(
    PACKAGE / "data" / "sample" / name / "test.jsonl" for name in ("realism", "archetype")
)


def problems(config: DictConfig) -> list[str]:
    """Problems of ``input`` and ``texts``."""
    items = input_items(config)
    if not all(isinstance(item, str) and item for item in items):
        return [f"input={config.input} must be a path, a glob, - or a list of these."]
    messages = [problem for item in items if (problem := _problem(item, config.importer.format))]
    messages += [
        f"texts.{name}={text!r} must be text, in quotes where YAML reads another type, and not empty."
        for name, text in (config.texts or {}).items()
        if not (isinstance(text, str) and text.strip())
    ]
    return messages


def _problem(item: str, importer_format: str | None) -> str | None:
    path = stored_path(item)
    if item == STDIN:
        return "input=- reads standard input, which the runs of a sweep do not have: give a file, or leave out -m."
    if path.is_dir() and not is_source(path, importer_format):
        return f"input: {item} is a folder without audio files."
    if path.exists() or item == DEMO:
        return None
    if glob.has_magic(item):
        return None if _matches(item) else f"input: {item} matches no file."
    return f"input: {item} does not exist."


def _matches(pattern: str) -> list[str]:
    return sorted(glob.glob(os.path.expanduser(pattern), recursive=True))


def named_files(config: DictConfig) -> list[str]:
    """The files that ``input`` names, with those of its globs; files inside its folders are not listed."""
    items = [item for item in input_items(config) if isinstance(item, str)]
    return [
        name
        for item in items
        for name in ([item] if stored_path(item).exists() else _matches(item))
    ]


def with_saved_stdin(config: DictConfig, folder: Path) -> DictConfig:
    """A copy of a configuration in which a file with the content of standard input replaces ``-``.

    Args:
        folder: the folder of the new file.

    Raises:
        ConfigError: standard input is empty or not text.
    """
    items = input_items(config)
    if STDIN not in items:
        return config
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"input=-: standard input is not UTF-8 ({error}): give paths or JSON Lines."
        ) from None
    if not text.strip():
        raise ConfigError(
            "input=-: standard input is empty: give one path a line, or JSON Lines of records."
        )
    ending = ".jsonl" if text.lstrip().startswith("{") else ".txt"
    file = _write(folder, "stdin", text, ending)
    config = config.copy()
    config.input = [literal(str(file)) if item == STDIN else literal(item) for item in items]
    return config


def input_sources(
    config: DictConfig, task: Task, folder: Path, processes: Processes = SINGLE_PROCESS
) -> list[Source]:
    """The sources of records that ``input`` names; all audio files are listed in one JSON Lines file.

    Args:
        task: the task that is scored.
        folder: the folder of the JSON Lines file.
        processes: the processes of the run, of which rank 0 lists the files.

    Raises:
        ConfigError: the clips lack texts that the task needs, or ``input`` names no clip.
    """
    return processes.from_rank_zero(lambda: _sources(config, task, folder))


def _sources(config: DictConfig, task: Task, folder: Path) -> list[Source]:
    files: list[str] = []
    clips: list[str] = []
    for item in input_items(config):
        path = stored_path(item)
        if item == DEMO and not path.exists():
            files.append(str(_demo(config, task, folder)))
            continue
        for name in [item] if path.exists() or not glob.has_magic(item) else _matches(item):
            (clips if _is_clips(name, config) else files).append(name)
    if clips:
        require_texts(config, task, clips[0])
        by_system = Stage.leaderboard in config.stages
        files.append(str(_clips_file(_listed(clips), folder, _systems(clips) if by_system else {})))
    sources = dict.fromkeys(Source(INPUT, "", file, None) for file in files)
    if not sources:
        raise ConfigError(f"input={config.input} names no clip.")
    return list(sources)


def _is_clips(name: str, config: DictConfig) -> bool:
    """Whether a path names audio only: an audio file, a list of audio files, or a folder without further columns."""
    path = stored_path(name)
    if path.is_dir():
        is_default = OmegaConf.to_object(config.importer) == ImporterConfig()
        return is_default and folder_format(path) == "audio_folder"
    is_list = path.suffix.lower() == ".txt" and config.importer.format is None
    return is_list or path.suffix.lower() in AUDIO_ENDINGS


def _listed(names: Sequence[str]) -> dict[str, Path]:
    """The audio files by id, without repeated files; the id is the path that the user gives."""
    clips: dict[str, Path] = {}
    for name in names:
        path = stored_path(name)
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in AUDIO_ENDINGS)
            clips |= {
                str(Path(name, p.relative_to(path))): p for p in sorted(inside) if p.is_file()
            }
        elif path.suffix.lower() == ".txt":
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            clips |= {line.strip(): stored_path(line.strip()) for line in lines if line.strip()}
        else:
            clips[str(Path(name))] = path
    by_file = {file.absolute(): name for name, file in reversed(clips.items())}
    return {name: file for name, file in clips.items() if by_file[file.absolute()] == name}


def _systems(names: Sequence[str]) -> dict[Path, dict[str, str]]:
    """The system and the prompt of each audio file in a folder that has a subfolder for each system.

    The system is the name of the subfolder; the prompt is the path inside the subfolder, without the ending.
    """
    systems: dict[Path, dict[str, str]] = {}
    for name in names:
        root = stored_path(name)
        for file in root.rglob("*") if root.is_dir() else ():
            inside = file.relative_to(root)
            if len(inside.parts) > 1 and file.suffix.lower() in AUDIO_ENDINGS:
                prompt = Path(*inside.parts[1:]).with_suffix("").as_posix()
                systems[file.absolute()] = {"system": inside.parts[0], PROMPT: prompt}
    return systems


def _clips_file(
    clips: Mapping[str, Path], folder: Path, systems: Mapping[Path, Mapping[str, str]]
) -> Path:
    records = (
        {"id": name, "wav_path": str(file.absolute()), **systems.get(file.absolute(), {})}
        for name, file in clips.items()
    )
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    return _write(folder, "clips", "".join(lines), ".jsonl")


def _demo(config: DictConfig, task: Task, folder: Path) -> Path:
    """A file with a record of the bundled sample that has the texts of the task, without ratings."""
    texts = shared_texts(config, task)
    best: dict[str, Any] = {}
    for file in _SAMPLES:
        with file.open(encoding="utf-8") as lines:
            record = json.loads(next(lines))
        record["wav_path"] = str(file.parent / record["wav_path"])
        record.setdefault(TURNS, [])
        best = best or record
        if {*task.text_fields} <= {*record, *texts}:
            best = record
            break
    else:
        require_texts(config, task, DEMO, record=best)
    best.pop("annotations", None)
    return _write(folder, DEMO, json.dumps(best, ensure_ascii=False) + "\n", ".jsonl")


def _write(folder: Path, stem: str, text: str, ending: str) -> Path:
    """Write a file whose name contains the hash of its content, unless it exists."""
    file = folder / f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:12]}{ending}"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(file, text, verbatim=True)
    return file


def shared_texts(config: DictConfig, task: Task) -> dict[str, str]:
    """The texts of ``texts.NAME=…`` by key of the records.

    Raises:
        ConfigError: lists every name that is not a text of the task.
    """
    names = all_names(task)
    keys = keys_by_name(names)
    texts = config.texts or {}
    if unknown := [str(name) for name in texts if name not in keys]:
        takes = ", ".join(names.values()) or "none"
        raise ConfigError(
            [
                f"{name} is neither a setting nor a text of the task {task.name}, which takes {takes}."
                f"{near_match_hint(name, keys)}"
                for name in unknown
            ]
        )
    return {keys[str(name)]: str(text) for name, text in texts.items()}


def require_texts(
    config: DictConfig, task: Task, clip: str, record: Mapping[str, Any] | None = None
) -> None:
    """Refuse clips without the texts that the task needs.

    Args:
        task: the task that is scored.
        clip: one of the clips, for the example.
        record: the record of the clip; None for an audio file, which has no texts.

    Raises:
        ConfigError: lists the missing texts and gives an example command.
    """
    texts = {**(record or {}), **shared_texts(config, task)}
    if task.turns != NONE and TURNS not in texts:
        raise ConfigError(
            f"The judge's task {task.name} reads the turns before a clip (task.turns={task.turns}), which audio "
            f'files do not have: give a JSONL file with "wav_path" and "{TURNS}" for each clip, [] for a clip '
            "without turns."
        )
    missing = [name for key, name in required_names(task).items() if key not in texts]
    if missing:
        raise ConfigError(
            f"The judge's task {task.name} also reads {', '.join(missing)}, which audio files do not have. For "
            f"example, with texts that all clips share:\n    {example(config, task, clip)}\n"
            "  A JSONL or CSV file of clips may have other texts for each clip."
        )


def example(config: DictConfig, task: Task, clip: str) -> str:
    """A command that scores a clip, with every text that the task needs."""
    texts = shared_texts(config, task)
    words = [
        f"{name}=" + (shlex.quote(texts[key]) if key in texts else '"…"')
        for key, name in required_names(task).items()
    ]
    models = [file.stem for file in chosen_files("model")]
    judge = config.checkpoint or (models[0] if models else "RUN")
    return " ".join([command_name(), "score", shlex.quote(str(judge)), shlex.quote(clip), *words])


def missing_texts_hint(error: BadRecordsError, config: DictConfig, task: Task) -> str | None:
    """The advice about texts that records of the input lack; None if they lack none."""
    keys = {problem.key for problem in error.problems if problem.problem == "missing"}
    names = [name for key, name in required_names(task).items() if key in keys]
    if not names:
        return None
    clip = str(input_items(config)[0])
    return (
        f"Texts that all records share can be given once: {' '.join(f'texts.{name}=…' for name in names)}, or "
        f"{example(config, task, clip)}"
    )
