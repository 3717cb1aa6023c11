"""Measures the time from the command to the first step, and the reading and checking of 1,000 records."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench import Bench
from benchmarks.midsize import TINY
from benchmarks.product import ROOT, composed
from benchmarks.timing import OURS, Row, Turn, alternate, seconds

IMPORTS = "import torch, transformers, trl"
#: trl and transformers load nothing until a name is asked for; these are the names that a training needs.
NAMES = (
    "from trl import SFTConfig, SFTTrainer; "
    "from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration as Model"
)
READ = f"AutoProcessor.from_pretrained({str(TINY)!r}); Model.from_pretrained({str(TINY)!r})"
LAZY = (
    "from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration as Model; " + READ
)


#: Seconds that an access to network storage may take.
WAIT = 2e-3
SLOW = f"where each stat of a file waits {WAIT * 1000:g} ms (imitated)"


def first_step(bench: Bench) -> list[Row]:
    """The tiny judge on the bundled sample, from the command to its first training step."""

    def launch() -> float:
        with tempfile.TemporaryDirectory() as folder:
            run = ["stages=[train]", f"hydra.run.dir={folder}", f"cache.folder={folder}/cache"]
            return _python("-m", "benchmarks.first_step", *run)

    rows = []
    for what, code in (
        (f"`{IMPORTS}`, the trainer's class and the weights", f"{IMPORTS}; {NAMES}; {READ}"),
        (f"`{IMPORTS}` (which load little by themselves) and the weights", f"{IMPORTS}; {LAZY}"),
    ):
        turns: dict[str, Turn] = {OURS: launch, what: partial(_python, "-c", code)}
        rows.append(
            Row(
                section="start",
                work=f"from the command to the first step, tiny judge, against {what}",
                unit="processor s",
                rounds=alternate(turns, bench.rounds),
                target=1 / 1.3,
                note="composing, checks, 520 records with their headers, model and trainer are in it",
            )
        )
    return rows


def _python(*arguments: str) -> float:
    """Processor seconds of a program, user and system; on an idle machine they equal the wall time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def reading(bench: Bench) -> list[Row]:
    """1,000 records: JSON, ratings, texts and the header of every clip, with one thread and with many."""
    from dramaeval.data.records import read_records
    from dramaeval.stages.builders import build_task

    file = _thousand(bench.folder / "thousand")
    form = build_task(composed()).record_format()
    turns: dict[str, Turn] = {
        OURS: lambda: seconds(lambda: read_records(file, form)),
        "one thread": lambda: seconds(lambda: read_records(file, form, workers=1)),
    }
    rows = []
    for where, waiting in (("on a local disk", nullcontext()), (SLOW, _slow_storage())):
        with waiting:
            rounds = alternate(turns, bench.rounds)
        work = f"reading and checking 1,000 records {where}"
        rows.append(Row(section="start", work=work, unit="s", rounds=rounds))
    return rows


@contextmanager
def _slow_storage() -> Iterator[None]:
    """Delays every stat, as on a network file system; opening and reading are not delayed."""
    at_once = os.stat

    def stat(*args: Any, **kwargs: Any) -> os.stat_result:
        time.sleep(WAIT)
        return at_once(*args, **kwargs)

    os.stat = stat  # put back below
    try:
        yield
    finally:
        os.stat = at_once


def _thousand(folder: Path) -> Path:
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    sample = ROOT / "dramaeval" / "data" / "sample" / "realism" / "train.jsonl"
    texts = [json.loads(line) for line in sample.read_text("utf-8").splitlines()]
    rng = np.random.default_rng(0)
    lines = []
    for number in range(1000):
        name = f"{number:04}.wav"
        if not (folder / name).is_file():
            soundfile.write(folder / name, rng.uniform(-0.1, 0.1, 16_000), 16_000)
        lines.append(texts[number % len(texts)] | {"id": f"r{number}", "wav_path": name})
    file = folder / "records.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file
