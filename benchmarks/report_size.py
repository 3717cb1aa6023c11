"""Time and size of large reports: `python benchmarks/report_size.py KIND [COUNT [FOLDER]]`.

KIND is one of

- `systems`: a leaderboard of COUNT systems (1,000), one clip each on 20 prompts;
- `untested`: the same on 4 prompts, too few for intervals and tests;
- `dimensions`: the report of a run with COUNT dimensions (200), 60 records;
- `records`: the report of a run with COUNT records (20,000) × 10 dimensions, one phase: predictions read,
  summary, slices, page;
- `alone`: the same without groups, the slowest case for the bootstrap;
- `phases`: the same with a zero-shot phase, and the gain between the two phases;
- `runs`: a comparison of COUNT runs (12), 300 records × 10 dimensions.

With FOLDER the files are kept, so that the results of two versions can be compared (`diff`).
Prints one line of JSON: processor seconds of each part, bytes of the page and of the other files, and the peak
memory of the process in MiB. Set OMP_NUM_THREADS=1, as for `metrics.py`.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dramaeval.data.atomic_files import write_json_atomic
from dramaeval.data.records import Record
from dramaeval.evaluation.comparison import compare
from dramaeval.evaluation.leaderboard import rank
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.report import comparison_page
from dramaeval.evaluation.report.about_board import AboutBoard
from dramaeval.evaluation.report.leaderboard_page import (
    board_forest,
    render_board,
    sentences,
    shown_tables,
    tables_of,
)
from dramaeval.evaluation.report.read_results import Results
from dramaeval.evaluation.report.run_page import render
from dramaeval.evaluation.report.shared_context import Findings
from dramaeval.evaluation.report.side_by_side import side_by_side
from dramaeval.evaluation.slices import slices
from dramaeval.evaluation.summary import summarise
from dramaeval.stages.predictions_file import read_phase
from dramaeval.stages.report_html import write_tables

SCALE = (1.0, 2.0, 3.0, 4.0, 5.0)
SETTINGS: dict[str, Any] = {"seed": 0, "draws": 2_000, "level": 0.95}


class Clock:
    """Processor seconds and elapsed seconds of each named part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.elapsed: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure the block."""
        start, begun = time.process_time(), time.perf_counter()
        yield
        self.seconds[name] = round(time.process_time() - start, 2)
        self.elapsed[name] = round(time.perf_counter() - begun, 2)


def predictions(
    records: int, dimensions: int, seed: int = 0, *, grouped: bool = True, raters: int = 6
) -> list[Prediction]:
    """Predictions with the ratings of so many raters, a tenth of the ratings missing, and one character per 40 records."""
    characters = max(6, records // 40)
    people, judge = np.random.default_rng(0), np.random.default_rng(seed + 1)
    predicted = []
    for number in range(dimensions):
        truth = people.normal(size=records)
        ratings = np.rint(3 + truth[:, None] + people.normal(size=(records, raters)))
        missing = people.random(ratings.shape) < 0.1
        given = np.clip(ratings, 1, 5).astype(object)
        given[missing] = None
        centre = 3 + truth / 2 + judge.normal(size=records) / 2
        weights = np.exp(-((np.array(SCALE) - centre[:, None]) ** 2))
        shares = weights / weights.sum(axis=1, keepdims=True)
        expected = shares @ np.array(SCALE)
        predicted += [
            Prediction(
                id=f"clip-{row}", dimension=f"dimension_{number}", scale=SCALE,
                distribution=tuple(shares[row].tolist()), expected=float(expected[row]),
                ratings=tuple(given[row].tolist()), state="scored",
                group=f"character {row % characters}" if grouped else None, system=f"system {row % 4}",
            )
            for row in range(records)
        ]  # fmt: skip
    return predicted


def write_predictions(file: Path, predicted: list[Prediction]) -> Path:
    """Write predictions as the stage `evaluate` does."""
    lines = (
        json.dumps({"split": "test", **one.to_json()}, ensure_ascii=False) for one in predicted
    )
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def report(
    records: int,
    dimensions: int,
    clock: Clock,
    folder: Path,
    *,
    phases: int = 1,
    grouped: bool = True,
) -> None:
    """The report of a run, computed from its predictions."""
    titles = {f"dimension_{n}": f"Dimension {n}" for n in range(dimensions)}
    seeds = {"zero_shot": 1, "final": 0} if phases == 2 else {"final": 0}
    judges = {
        phase: predictions(records, dimensions, seed, grouped=grouped)
        for phase, seed in seeds.items()
    }
    clips = [
        Record(
            id=f"clip-{n}", file=folder / "test.jsonl", line=n + 1, clip=folder / f"{n}.wav",
            seconds=1 + n % 7 / 2, ratings={},
            fields={"language": ("en", "zh", "de")[n % 3], "recorded": n % 2 == 0,
                    "character": f"character {n % 500}", "local_scene": f"Scene {n}"},
        )
        for n in range(records)
    ]  # fmt: skip
    names = ["character_seen", "language", "length", "recorded"]
    files = {
        phase: write_predictions(folder / f"{phase}.jsonl", own) for phase, own in judges.items()
    }
    with clock("read"):
        judges = {phase: read_phase(file).ratings["test"] for phase, file in files.items()}
    judge = judges["final"]
    metrics: dict[str, Any] = {"about": {}}
    with clock("summary"):
        metrics["test"] = {
            phase: summarise(own, list(titles), **SETTINGS) for phase, own in judges.items()
        }
    if phases == 2:
        with clock("gain"):
            gain = compare(judge, judges["zero_shot"], list(titles), **SETTINGS)
            metrics["gain"] = {"test": gain}
    with clock("slices"):
        metrics["slices"] = {"test": slices(judge, clips, clips[:50], names, **SETTINGS)}
    with clock("page"):
        page = render(
            Findings(
                name="large", metrics=metrics, split="test", predictions=judge, records=clips,
                titles=titles, text_fields=("local_scene",), config="seed: 0\n", environment={},
                tensorboard=folder / "none", max_seconds=30, facts=["task role"],
            )
        )  # fmt: skip
        (folder / "report.html").write_text(page, encoding="utf-8")
    write_json_atomic(folder / "metrics.json", metrics)


def board(systems: int, clock: Clock, folder: Path, prompts: int = 20) -> None:
    """A leaderboard, computed from its predictions."""
    chance = np.random.default_rng(0)
    scores = chance.uniform(2, 4, (systems, 1)) + chance.normal(0, 0.5, (systems, prompts))
    predicted = [
        Prediction(
            id=f"{at}-{prompt}", dimension="pitch", scale=SCALE, distribution=None,
            expected=float(np.clip(scores[at, prompt], 1, 5)), ratings=(), state="scored",
            system=f"system {at}",
        )
        for at in range(systems)
        for prompt in range(prompts)
    ]  # fmt: skip
    with clock("rank"):
        ranking = rank(
            predicted, {one.id: one.id.partition("-")[2] for one in predicted}, **SETTINGS
        )
        write_json_atomic(folder / "leaderboard.json", ranking)
    titles = {"pitch": "Pitch"}
    with clock("tables"):
        tables = tables_of(ranking, titles)
        shown = shown_tables(ranking, tables)
        write_tables(folder, "leaderboard", tables, shown, sentences(ranking))
    with clock("page"):
        page = render_board(
            ranking, shown, "large", ["task role"], "seed: 0\n",
            AboutBoard(date="", agreement="", report=None, dimensions=[]),
            sentences=sentences(ranking), forest=board_forest(ranking),
        )  # fmt: skip
        (folder / "report.html").write_text(page, encoding="utf-8")


def runs(count: int, clock: Clock, folder: Path) -> None:
    """A comparison of runs, computed from their predictions."""
    titles = {f"dimension_{n}": f"Dimension {n}" for n in range(10)}
    judged = [
        Results(name=f"run {n}", predictions=predictions(300, 10, n), titles=titles, split="test",
                config={"seed": n})
        for n in range(count)
    ]  # fmt: skip
    with clock("compare"):
        comparison = side_by_side(judged, **SETTINGS)
    with clock("tables"):
        tables = comparison_page.tables_of(comparison)
        shown = comparison_page.shown_tables(tables)
        write_tables(folder, "comparison", tables, shown, [])
    with clock("page"):
        page = comparison_page.render_comparison(
            comparison, shown, "large", ["12 runs"], "seed: 0\n"
        )
        (folder / "report.html").write_text(page, encoding="utf-8")
    write_json_atomic(folder / "comparison.json", asdict(comparison))


KINDS: dict[str, tuple[int, Callable[[int, Clock, Path], None]]] = {
    "systems": (1_000, board),
    "untested": (1_000, lambda count, clock, folder: board(count, clock, folder, prompts=4)),
    "dimensions": (200, lambda count, *given: report(60, count, *given)),
    "records": (20_000, lambda count, *given: report(count, 10, *given)),
    "alone": (20_000, lambda count, *given: report(count, 10, *given, grouped=False)),
    "phases": (20_000, lambda count, *given: report(count, 10, *given, phases=2)),
    "runs": (12, runs),
}


def main() -> None:
    """Write the report, and print its time and size."""
    usual, make = KINDS[sys.argv[1]]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else usual
    clock = Clock()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(sys.argv[3] if len(sys.argv) > 3 else name)
        folder.mkdir(parents=True, exist_ok=True)
        make(count, clock, folder)
        files = {
            str(file.relative_to(folder)): file.stat().st_size
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
    print(
        json.dumps(
            {
                sys.argv[1]: count,
                "processor_seconds": {
                    **clock.seconds,
                    "total": round(sum(clock.seconds.values()), 2),
                },
                "elapsed_seconds": round(sum(clock.elapsed.values()), 2),
                "bytes": files,
                "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }
        )
    )


if __name__ == "__main__":
    main()
