"""Time and memory against the size of the work, each size doubled three times: writes docs/growth.md.

    python -m benchmarks.growth                       # about 10 minutes on 2 cores
    python -m benchmarks.growth --only raters records # these sizes; the others keep their last figures

Each size is measured in a process of its own with the bundled judge: the shortest of a few repetitions, and the peak
memory of the process. The slope is the exponent b of size^b between the smallest and the largest size, of the time and of
the memory; 1 is proportional, 0 constant.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import take_step
from benchmarks.midsize import TINY
from benchmarks.page import measure_by_name, surroundings
from benchmarks.peak import peak_of
from benchmarks.product import ROOT, TIMED, Product
from benchmarks.timing import seconds

PAGE = ROOT / "docs" / "growth.md"
DOUBLED = (1, 2, 4, 8)
REPETITIONS = 3
RATE = 16_000
#: Clips that are scored or trained on at a time.
CLIPS = 4

Work = Callable[[], Any]


@dataclass(frozen=True)
class Size:
    """One quantity that is doubled.

    Attributes:
        what: the quantity and the work, for the page.
        smallest: its smallest value.
        make: given a value and a folder, returns the work to time.
    """

    what: str
    smallest: float
    make: Callable[[float, Path], Work]


def _records(folder: Path, length: float, count: int = CLIPS) -> Path:
    """The JSONL file of records of the sample with clips of noise of this many seconds."""
    import soundfile

    sample = ROOT / "dramaeval" / "data" / "sample" / "realism" / "train.jsonl"
    lines = [json.loads(line) for line in sample.read_text("utf-8").splitlines()[:count]]
    chance = np.random.default_rng(0)
    for number, line in enumerate(lines):
        soundfile.write(
            folder / f"{number}.wav", chance.uniform(-0.1, 0.1, int(length * RATE)), RATE
        )
        line["wav_path"] = f"{number}.wav"
    file = folder / "records.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def _dimensions(count: float) -> str:
    from dramaeval.config.composition import compose

    keys = [one.key for one in compose().task.rubric.dimensions][: int(count)]
    return f"task.dimensions=[{','.join(keys)}]"


def _scoring(folder: Path, length: float, *overrides: str) -> Work:
    from dramaeval.evaluation.scoring import score

    product = Product(TINY, _records(folder, length), folder, "stages=[evaluate]", *overrides)
    model = product.model
    return lambda: score(model, product.records, product.record_encoder(), clips_a_batch=CLIPS)


def scoring_by_seconds(value: float, folder: Path) -> Work:
    """Scores of clips of this many seconds."""
    return _scoring(folder, value, _dimensions(1))


def scoring_by_questions(value: float, folder: Path) -> Work:
    """Scores of clips with this many questions."""
    return _scoring(folder, 4.0, _dimensions(value))


def _training(folder: Path, length: float, *overrides: str) -> Work:
    file = _records(folder, length)
    settings = (*TIMED, "peft=lora", f"batch.per_device={CLIPS}", "trainer.args.max_steps=1")
    product = Product(TINY, file, folder, *settings, *overrides)
    trainer = product.trainer()
    trainer.create_optimizer()
    trainer.model.train()
    batch = trainer.data_collator([{"record": at} for at in range(CLIPS)])["batch"]

    return partial(take_step, trainer, batch)


def training_by_seconds(value: float, folder: Path) -> Work:
    """A LoRA step on clips of this many seconds."""
    return _training(folder, value, _dimensions(1))


def training_by_questions(value: float, folder: Path) -> Work:
    """A LoRA step with this many questions about each clip."""
    return _training(folder, 4.0, _dimensions(value))


def _metrics(*, records: int = 1_000, dimensions: int = 5, raters: int = 4) -> Work:
    from benchmarks.report_size import SETTINGS, predictions
    from dramaeval.evaluation.summary import summarise

    made = predictions(records, dimensions, raters=raters)
    keys = [f"dimension_{number}" for number in range(dimensions)]
    return lambda: summarise(made, keys, **SETTINGS)


def metrics_by_records(value: float, folder: Path) -> Work:
    """Metrics of this many records."""
    return _metrics(records=int(value))


def metrics_by_dimensions(value: float, folder: Path) -> Work:
    """Metrics of this many dimensions."""
    return _metrics(dimensions=int(value))


def metrics_by_raters(value: float, folder: Path) -> Work:
    """Metrics of records with this many raters."""
    return _metrics(raters=int(value))


SIZES = {
    "seconds": Size(
        f"seconds of audio a clip: scoring {CLIPS} clips, one question each",
        3.5,
        scoring_by_seconds,
    ),
    "seconds_trained": Size(
        f"seconds of audio a clip: a LoRA step of {CLIPS} clips, one question each",
        3.5,
        training_by_seconds,
    ),
    "questions": Size(
        f"questions a clip: scoring {CLIPS} clips of 4 s", 1, scoring_by_questions
    ),
    "questions_trained": Size(
        f"questions a clip: a LoRA step of {CLIPS} clips of 4 s", 1, training_by_questions
    ),
    "records": Size("records: all metrics with intervals, 5 dimensions, 4 raters", 1_000, metrics_by_records),
    "dimensions": Size("dimensions: all metrics with intervals, 1,000 records, 4 raters", 5, metrics_by_dimensions),
    "raters": Size("raters: all metrics with intervals, 1,000 records, 5 dimensions", 4, metrics_by_raters),
}  # fmt: skip


def measured(name: str, value: float) -> tuple[float, float]:
    """Seconds and peak memory in MiB of one size, in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (name, value))


def _measure(name: str, value: float) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        work = SIZES[name].make(value, Path(folder))
        work()  # allocates, and imports what the first call needs
        return min(seconds(work) for _ in range(REPETITIONS)), peak_of()


def slope(first: float, last: float) -> float:
    """The exponent b of size^b between figures of the smallest and the largest size."""
    return math.log(last / first) / math.log(DOUBLED[-1] / DOUBLED[0])


def page(kept: dict[str, list[tuple[float, float]]]) -> str:
    """The text of the page."""
    known = surroundings()
    versions = ", ".join(f"{name} {number}" for name, number in known["versions"].items())
    times = " | ".join(f"× {factor}" for factor in DOUBLED)
    lines = [
        "# Cost and size",
        "",
        "Written by `python -m benchmarks.growth`: seconds, and below them the peak memory of the process in MiB, when a size is",
        "doubled three times. The slope is the exponent of the size: 1 is proportional, 0 constant.",
        "",
        f"| size | smallest | {times} | slope |",
        f"| --- | ---: |{' ---: |' * len(DOUBLED)} ---: |",
    ]
    for name, size in SIZES.items():
        if name not in kept:
            continue
        taken, peaks = zip(*kept[name], strict=True)
        shown = " | ".join(
            f"{second:.3f} s<br>{peak:.0f}" for second, peak in zip(taken, peaks, strict=True)
        )
        slopes = f"{slope(taken[0], taken[-1]):.2f}<br>{slope(peaks[0], peaks[-1]):.2f}"
        lines.append(f"| {size.what} | {size.smallest:g} | {shown} | {slopes} |")
    lines += [
        "",
        f"{known['cores']} cores, {known['threads']} threads, {known['processor']}; {versions}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the page after each size."""

    def measure(name: str) -> list[tuple[float, float]]:
        return [measured(name, factor * SIZES[name].smallest) for factor in DOUBLED]

    measure_by_name(__doc__, SIZES, measure, page, PAGE)


if __name__ == "__main__":
    main()
