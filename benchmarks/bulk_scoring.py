"""Cost of `stages=[score]` for a growing number of records, and what it consists of: writes docs/bulk_scoring.md.

    python -m benchmarks.bulk_scoring                             # 1,000, 10,000 and 100,000 records, one process
    python -m benchmarks.bulk_scoring --sizes 1000 10000 --processes 2
    python -m benchmarks.bulk_scoring --judge FOLDER --name "23 M parameters" --sizes 500 2000
    python -m benchmarks.bulk_scoring --sizes 100 200 --out /tmp/proof.md   # a test

Every record has a file of its own. The files are hard links to a few hundred clips, which are decoded anew for each record,
since the cache is off. Each size is scored by a command of its own, as a user starts it; the cost of a record is the
difference of two sizes divided by the number of further records, so that imports and weights are not part of it. With one
process, the smallest size is scored once more by `benchmarks.shares`, which samples the time of each part. The figures of
each judge and number of processes are kept in docs/bulk_scoring.json.
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
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

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
    """The settings of `launch.py`."""
    judge = ["model=qwen2_audio", f"model.path={given.judge}"] if given.judge else []
    return [
        "stages=[score]", f"input={file}", "task=role", "task.dimensions=[pitch_dynamics]", *judge, "device=cpu",
        "cache.enabled=false", "logger=none", f"processes={given.processes}", f"hydra.run.dir={folder}",
    ]  # fmt: skip


def measure(count: int, given: argparse.Namespace) -> Measured:
    """Score ``count`` records with one command.

    Raises:
        RuntimeError: the command fails, or a record has no prediction or several.
    """
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        settings = command(str(write_records(folder, count)), f"{name}/run", given)
        peak, started = 0.0, time.monotonic()
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "launch.py", *settings],
                cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
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


def shares(count: int, given: argparse.Namespace) -> dict[str, float]:
    """The share of each part of the program in the time of scoring ``count`` records."""
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        settings = command(str(write_records(folder, count)), f"{name}/run", given)
        out = folder / "shares.json"
        words = [sys.executable, "-m", "benchmarks.shares", str(out), *settings]
        subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
        found: dict[str, float] = json.loads(out.read_text("utf-8"))
        return found


def page(kept: dict[str, Any]) -> str:
    """The text of the page."""
    known = surroundings()
    facts = ", ".join(
        f"{key} {value}" for key, value in known.items() if key != "versions" and value
    )
    lines = [
        "# Bulk scoring",
        "",
        f"Written by `python -m benchmarks.bulk_scoring`: a judge scores one dimension of clips of {LENGTHS[0]:g} to "
        f"{LENGTHS[1]:g} s, each decoded from a file of its own. The cost of a record is that of the records beyond the "
        "row above.",
        "",
        f"Surroundings: {facts}.",
        "",
        "| judge | records | seconds in all | ms a record | records a second | peak memory of a process, MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, figures in kept.items():
        lines += _rows(name, [Measured(**one) for one in figures["measured"]])
    lines += ["", "What the time of a record consists of, in one process:", ""]
    for name, figures in kept.items():
        parts = ", ".join(f"{part} {share:.0%}" for part, share in figures["shares"].items())
        if parts:
            lines.append(f"- {name} (on {figures['date']}): {parts}")
    lines += ["", "```bash"]
    lines += dict.fromkeys(figures["command"] for figures in kept.values())
    return "\n".join([*lines, "```", ""])


def _rows(name: str, measured: list[Measured]) -> Iterator[str]:
    for before, each in zip([None, *measured], measured, strict=False):
        cost = "- | -"
        if before is not None:
            further = (each.seconds - before.seconds) / (each.records - before.records)
            cost = f"{1000 * further:.2f} | {1 / further:.0f}"
        yield f"| {name} | {each.records:,} | {each.seconds:.1f} | {cost} | {each.peak:.0f} |"


def main() -> None:
    """Measure, and write the page after each size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--judge", type=Path, help="a Qwen2-Audio checkpoint; the bundled judge")
    parser.add_argument("--name", default="bundled", help="the name of the judge on the page")
    parser.add_argument("--folder", type=Path, help="of the clips; the system's temporary folder")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    results = given.out.with_suffix(".json")
    kept: dict[str, Any] = json.loads(results.read_text("utf-8")) if results.is_file() else {}
    count = "1 process" if given.processes == 1 else f"{given.processes} processes"
    named = argparse.Namespace(judge=given.judge and "JUDGE", processes=given.processes)
    figures = kept[f"{given.name}, {count}"] = {
        "command": shlex.join(["python", "launch.py", *command("RECORDS.jsonl", "RUN", named)]),
        "date": f"{date.today():%Y-%m-%d}",
        "measured": [],
        "shares": shares(min(given.sizes), given) if given.processes == 1 else {},
    }
    for size in sorted(given.sizes):
        figures["measured"].append(asdict(measure(size, given)))
        print(figures["measured"][-1], flush=True)
        results.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        write_with_remarks(given.out, page(kept))


if __name__ == "__main__":
    main()
