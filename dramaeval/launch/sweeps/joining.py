"""Joins the predictions of the runs of ``shards=N`` into one file in the sweep's folder, with each clip exactly once."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dramaeval.config.home_folder import expand_home
from dramaeval.config.problems import ConfigError
from dramaeval.data.atomic_files import write_json_atomic
from dramaeval.data.durations import duration
from dramaeval.data.jsonl import json_lines, read_object
from dramaeval.data.manifest import damage_of
from dramaeval.data.problems import counted
from dramaeval.distributed.replacing import replacing
from dramaeval.launch.sweeps.folder import OF_SWEEP, SweepFolder, SweepRun
from dramaeval.launch.sweeps.signature import unsigned
from dramaeval.launch.sweeps.state import DONE, change_state, read_state
from dramaeval.stages.progress import FILE as PROGRESS
from dramaeval.stages.shards import CLIPS

#: As `dramaeval.stages.fingerprint.NAME`, a module that takes long to import.
FINGERPRINT = "fingerprint.json"
#: The summary of the joined predictions.
SUMMARY = "shards.json"


def shards_of(runs: Sequence[SweepRun]) -> dict[int, SweepRun]:
    """The runs by the number of their shard; empty for a sweep without shards."""
    return {int(run.settings["shard"]): run for run in runs if "shard" in run.settings}


def join_shards(sweep: SweepFolder, *, own: bool = False) -> str | None:
    """Join the predictions if all shards are finished and are not joined yet.

    Shard k has every N-th record of the input; the joined predictions have the order of the input. The file in
    ``output`` is written only if this account has written ``multirun.yaml``, which may come from another person and
    could name any file.

    Args:
        own: whether this process has written or checked ``multirun.yaml``; if not, its signature is checked.

    Returns:
        a sentence for the user; None for a sweep without shards or with unfinished shards.

    Raises:
        ConfigError: a clip is missing or occurs twice, or a file is damaged.
    """
    runs = sweep.runs()
    shards = shards_of(runs)
    if not shards or any(read_state(run.folder).state != DONE for run in runs):
        return None
    if len(shards) < len(runs):
        return "The shards are not joined, because other settings vary too: start a sweep for each of their values."
    count = int(runs[0].settings["shards"])
    if absent := [number for number in range(count) if number not in shards]:
        raise ConfigError(f"{sweep.path}: there is no run for shard={absent[0]} of {count}.")
    files = [shards[number].folder / "predictions.jsonl" for number in range(count)]
    for file in files:
        if damage := damage_of(file) if file.is_file() else f"{file.name} is not there":
            raise _unfinished(file, damage)
    inputs = [_input_hashes(file.parent) for file in files]
    if changed := next((number for number in range(count) if inputs[number] != inputs[0]), None):
        raise ConfigError(
            f"{sweep.path}: the input changed between shard=0 and shard={changed}, so clips may be missing. Start a "
            "new sweep in another folder with hydra.sweep.dir=…"
        )
    made_from = [[file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    joined = sweep.path / "predictions.jsonl"
    earlier = read_object(sweep.path / SUMMARY)
    if earlier.get("made_from") == made_from and joined.is_file():
        return f"{counted(earlier['clips'], 'clip')}, joined from {count} shards, in {joined}"
    progress = [read_object(file.parent / PROGRESS) for file in files]
    totals = [values.get("total") for values in progress]
    clips, dimensions, unscored = _write(joined, files, totals)
    summary = {
        "clips": clips,
        "unscored": unscored,
        "seconds": round(sum(read_state(run.folder).seconds for run in runs), 1),
        "shards": [
            {"shard": number, "folder": file.parent.name, **values}
            for number, (file, values) in enumerate(zip(files, progress, strict=True))
        ],
        "made_from": made_from,
    }
    text = f"{counted(clips, 'clip')}, joined from {count} shards, in {joined}"
    if unscored:
        text += f"; {counted(unscored, 'question')} unscored"
    if output := sweep.master().get("output"):
        if problem := _output_problem(sweep, output, own=own):
            del summary["made_from"]  # the next call joins again, and writes the scores if it may
            text += f"; {problem}"
        else:
            _write_output(output, joined, files, dimensions)
            text += f"; the scores are in {output}"
    write_json_atomic(sweep.path / SUMMARY, summary)
    return text


def _output_problem(sweep: SweepFolder, output: str, *, own: bool) -> str | None:
    """Why the scores are not written to ``output``; None if they may be."""
    if not own and unsigned(sweep.path, OF_SWEEP):
        return (
            f"output={output} is not written, because this account has not written multirun.yaml. If you trust it: "
            f"resume=true sweep={sweep.path} launch.trust=true"
        )
    from dramaeval.stages.score import output_problems

    return next(iter(output_problems(output)), None)


def _write_output(
    output: str, joined: Path, files: Sequence[Path], dimensions: Sequence[str]
) -> None:
    paths: dict[str, str] = {}
    for file in files:
        paths |= read_object(file.parent / CLIPS)
    from dramaeval.evaluation.score_table import write_scores

    write_scores(expand_home(output), joined, dimensions, paths)


def _write(
    joined: Path, files: Sequence[Path], totals: Sequence[int | None]
) -> tuple[int, list[str], int]:
    """Write the clips of all files in turn; returns the number of clips, the dimensions and the unscored questions."""
    # A late import, since this one imports numpy, which a sweep that is refused does not need.
    from dramaeval.evaluation.predictions import SCORED

    seen: set[str] = set()
    dimensions: dict[str, None] = {}
    counts, unscored = [0] * len(files), 0
    with replacing(joined) as unfinished:
        with unfinished.open("wb") as output:
            for turn in itertools.zip_longest(*map(_clips, files)):
                for number, clip in enumerate(turn):
                    if clip is None:
                        continue
                    name, lines, questions = clip
                    if name in seen:
                        raise ConfigError(
                            f"{files[number]}: the clip {name} is in another shard too."
                        )
                    seen.add(name)
                    counts[number] += 1
                    dimensions |= dict.fromkeys(question["dimension"] for question in questions)
                    # Predictions of pairs have no state.
                    states = [question.get("state", SCORED) for question in questions]
                    unscored += sum(state != SCORED for state in states)
                    output.writelines(lines)
        for file, count, total in zip(files, counts, totals, strict=True):
            if total is not None and count != total:
                raise _unfinished(file, f"{count} of {total} clips are there")
    return len(seen), list(dimensions), unscored


def _input_hashes(folder: Path) -> list[str]:
    """The hashes of the files from which a shard took its records."""
    splits = read_object(folder / FINGERPRINT).get("splits", {})
    return sorted(splits.get("input", {}).get("files", {}).values())


def _unfinished(file: Path, problem: str) -> ConfigError:
    """The error about a shard that has to run again. The shard is recorded as failed, so that it can be resumed."""
    change_state(file.parent, lambda state: state.failed(problem))
    return ConfigError(
        f"{file.parent}: {problem}. Score it again with resume=true sweep={file.parent.parent}"
    )


def _clips(file: Path) -> Iterator[tuple[str, list[bytes], list[dict[str, Any]]]]:
    """The id of each clip, its lines, and the parsed lines."""
    parsed = ((json.loads(line), line) for _, line in json_lines(file))
    for name, group in itertools.groupby(parsed, key=lambda pair: str(pair[0]["id"])):
        pairs = list(group)
        yield name, [line for _, line in pairs], [values for values, _ in pairs]


def progress_of(folder: Path) -> dict[str, Any]:
    """The progress of a shard with the keys ``done``, ``total`` and ``rate``; empty for other runs."""
    values = read_object(folder / PROGRESS)
    return values if {"done", "total", "rate"} <= set(values) else {}


def progress_text(values: Mapping[str, Any]) -> str:
    """A shard's progress as text: ``1,200 of 15,625 clips, 3.1 a second``."""
    rate = f", {values['rate']:.3g} a second" if values["rate"] else ""
    return f"{values['done']:,} of {values['total']:,} clips{rate}"


def total_text(begun: Sequence[Mapping[str, Any]], running: Sequence[bool], shards: int) -> str:
    """The progress of all shards as text; empty if no shard has begun.

    Args:
        begun: the progress of the shards that have begun; the others are assumed to have the mean size.
        running: for each of these shards, whether its run still works.
        shards: the number of all shards.
    """
    if not begun:
        return ""
    done = sum(values["done"] for values in begun)
    total = round(sum(values["total"] for values in begun) / len(begun) * shards)
    pairs = zip(begun, running, strict=True)
    rate = sum(values["rate"] for values, runs in pairs if runs and values["rate"])
    about = "about " if len(begun) < shards else ""
    text = f"{done:,} of {about}{total:,} clips in {shards} shards"
    if not rate or done >= total:
        return text
    return f"{text}, {rate:.3g} a second, {duration((total - done) / rate)} left"
