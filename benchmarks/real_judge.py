"""Measures judges of real weights on real clips: training and scoring, compared with plain transformers and TRL.

The judges are those of ``build_judge.py`` (see `benchmarks.real_speech`): Whisper-base's encoder, frozen, before the tiny
judge's language model (23 M parameters) and before SmolLM2-135M-Instruct (184 M). A clip has three questions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks import scoring as scorings
from benchmarks import training as trainings
from benchmarks.bench import Bench, peft_of
from benchmarks.product import TIMED, Product

CLIPS = 40
#: The judges: what they are called, their folder, the clips of a training step, and what is trained.
JUDGES = (
    ("23 M", "judge-whisper-base-tiny", 4, ("full",)),
    ("184 M", "judge-whisper-base-smollm2", 2, ("LoRA", "full")),
)
_SECTION = "real_judge"


@dataclass(frozen=True)
class RealBench(Bench):
    """A session with a judge of real weights and the first training clips of speechocean762."""

    judge: str = ""

    @property
    def model(self) -> Path:
        """The folder of the judge."""
        return self.real[1] / self.judge

    @property
    def file(self) -> Path:
        """The JSONL file of the records, with absolute paths of the clips."""
        corpus = self.real[0] / "speechocean762"
        lines = (corpus / "train.jsonl").read_text("utf-8").splitlines()[:CLIPS]
        records = [json.loads(line) for line in lines]
        for record in records:
            record["wav_path"] = str(corpus / record["wav_path"])
        file = self.folder / "real" / "records.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
        return file

    def product(self, *overrides: str) -> Product:
        """dramaeval with this judge and these clips."""
        configs = self.folder / "real" / "configs" / "task" / "rubric"
        configs.mkdir(parents=True, exist_ok=True)
        rubric = (self.real[0] / "rubric" / "so762.yaml").read_bytes()
        (configs / "so762.yaml").write_bytes(rubric)
        return super().product(
            f"hydra.searchpath=[file://{configs.parents[1]}]",
            "task/rubric=so762",
            "model.freeze_audio=true",
            *overrides,
        )


def training(bench: Bench) -> list[Any]:
    """Steps of a few clips with three questions each; the peers take as many questions a step in rows of their own."""
    rows = []
    for name, judge, clips, method, lora in _judges(bench):
        rows.append(
            trainings.compare(
                judge,
                f"training a judge of {name} on real clips, three questions at once, {method}",
                (f"batch.per_device={clips}",),
                lora=lora,
                questions=3 * clips,
                peer=(clips, 3),
                target=2.5,
                section=_SECTION,
            )
        )
    return rows


def scoring(bench: Bench) -> list[Any]:
    """Scores of a clip on three dimensions."""
    return [
        scorings.compare(
            judge,
            "context_first",
            f"scoring a real clip on three dimensions, judge of {name}",
            3.0,
            clips=4,
            section=_SECTION,
        )
        for name, judge, _, method, _ in _judges(bench)
        if method == "full"
    ]


def share(bench: Bench) -> list[Any]:
    """Which share of the machine's rate of matrix products a training step reaches, and what takes its time."""
    rows = []
    for name, judge, clips, method, lora in _judges(bench):
        settings = (*TIMED, *peft_of(lora), f"batch.per_device={clips}", "trainer.args.max_steps=1")
        rows.append(
            machine.share_of(
                judge,
                f"judge of {name}, real clips, three questions, {method}",
                settings,
                section=_SECTION,
                rank=16 if lora else 0,
                trains_audio=False,
                trains_inputs=not lora,
            )
        )
    return rows


def _judges(bench: Bench) -> Iterator[tuple[str, RealBench, int, str, bool]]:
    """Name, session, clips a step, method, and whether the method is LoRA, of each judge and method."""
    common = {field.name: getattr(bench, field.name) for field in fields(bench)} | {"alone": True}
    for name, folder, clips, methods in JUDGES:
        for method in methods:
            yield name, RealBench(**common, judge=folder), clips, method, method == "LoRA"
