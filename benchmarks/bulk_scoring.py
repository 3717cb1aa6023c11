"""Cost of `stages=[score]` for a growing number of records: writes docs/bulk_scoring.md.

    python -m benchmarks.bulk_scoring                             # 1,000, 10,000 and 100,000 records, one process
    python -m benchmarks.bulk_scoring --sizes 1000 10000 --processes 2
    python -m benchmarks.bulk_scoring --sizes 100 200 --out /tmp/proof.md   # a test

Every record has a file of its own. The files are hard links to a few hundred clips, which are decoded anew for each record,
since the cache is off. Each size is scored by a command of its own, as a user starts it; the cost of a record is the
difference of two sizes divided by the number of further records, so that imports and weights are not part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.page import surroundings, write_with_remarks
from benchmarks.peak import peak_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "bulk_scoring.md"
RATE = 16_000
#: Distinct clips, and the range of their lengths in seconds.
CLIPS, LENGTHS = 300, (0.5, 2.0)
TEXTS = {
    "character": "Mara", "language": "en", "scene": "A quiet harbour at night.", "local_scene": "She waits.",
    "char_age": "Adult", "char_style": "Calm", "char_profile": "A sailor.", "transcript": "The boat is late.",
}  # fmt: skip


@dataclass
class Measured:
    """One command: number of records, seconds from its start to its end, and the largest memory of a process in MiB."""

    records: int
    seconds: float
    peak: float


def write_records(folder: Path, count: int) -> Path:
    """Write a JSONL of unrated records, and a file for each clip."""
    chance = np.random.default_rng(0)
    sources = []
    for number in range(min(CLIPS, count)):
        time_axis = np.arange(int(RATE * chance.uniform(*LENGTHS))) / RATE
        tone = np.sin(2 * np.pi * chance.uniform(90, 300) * time_axis) * chance.uniform(0.05, 0.3)
        sources.append(folder / f"source{number}.wav")
        soundfile.write(sources[-1], tone + chance.normal(0, 0.01, len(tone)), RATE)
    file = folder / "records.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for number in range(count):
            clip = folder / "clips" / f"{number // 1000:03d}" / f"{number}.wav"
            clip.parent.mkdir(parents=True, exist_ok=True)
            os.link(sources[number % len(sources)], clip)
            line = {"id": str(number), "wav_path": str(clip.relative_to(folder)), **TEXTS}
            out.write(json.dumps(line) + "\n")
    return file


def command(file: str, folder: str, given: argparse.Namespace) -> list[str]:
    """The arguments of `python`."""
    return [
        "launch.py", "stages=[score]", f"input={file}", "task=role", "task.dimensions=[pitch_dynamics]", "device=cpu",
        "cache.enabled=false", "logger=none", f"processes={given.processes}", f"hydra.run.dir={folder}",
    ]  # fmt: skip


def measure(count: int, given: argparse.Namespace) -> Measured:
    """Score ``count`` records with one command.

    Raises:
        RuntimeError: the command fails, or a record has no prediction or several.
    """
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        words = [sys.executable, *command(str(write_records(folder, count)), f"{name}/run", given)]
        peak, started = 0.0, time.monotonic()
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(words, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
            while process.poll() is None:
                peak = max(peak, peak_of(process.pid))
                time.sleep(0.2)
        seconds = time.monotonic() - started
        if process.returncode:
            raise RuntimeError((folder / "log").read_text()[-2_000:])
        lines = (folder / "run" / "predictions.jsonl").read_text("utf-8").splitlines()
        ids = {json.loads(line)["id"] for line in lines}
        if len(lines) != count or len(ids) != count:
            raise RuntimeError(f"{len(lines)} predictions of {len(ids)} records, not {count}")
    return Measured(count, seconds, peak)


def page(measured: list[Measured], given: argparse.Namespace) -> str:
    """The text of the page."""
    known = surroundings()
    facts = ", ".join(
        f"{key} {value}" for key, value in known.items() if key != "versions" and value
    )
    shown = shlex.join(command("RECORDS.jsonl", "RUN", given))
    return "\n".join(
        [
            "# Bulk scoring",
            "",
            f"Written by `python -m benchmarks.bulk_scoring`: the bundled judge scores one dimension of clips of "
            f"{LENGTHS[0]:g} to {LENGTHS[1]:g} s, each decoded from a file of its own. The cost of a record is that of the "
            "records beyond the row above.",
            "",
            f"Surroundings: {facts}; processes {given.processes}.",
            "",
            "| records | seconds in all | ms a record | records a second | peak memory of a process, MiB |",
            "| ---: | ---: | ---: | ---: | ---: |",
            *_rows(measured),
            "",
            "```bash",
            f"python {shown}",
            "```",
            "",
        ]
    )


def _rows(measured: list[Measured]) -> Iterator[str]:
    for before, each in zip([None, *measured], measured, strict=False):
        cost = "- | -"
        if before is not None:
            further = (each.seconds - before.seconds) / (each.records - before.records)
            cost = f"{1000 * further:.2f} | {1 / further:.0f}"
        yield f"| {each.records:,} | {each.seconds:.1f} | {cost} | {each.peak:.0f} |"


def main() -> None:
    """Measure, and write the page after each size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="of the clips; the system's temporary folder")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    measured: list[Measured] = []
    for count in sorted(given.sizes):
        measured.append(measure(count, given))
        print(measured[-1], flush=True)
        write_with_remarks(given.out, page(measured, given))


if __name__ == "__main__":
    main()
