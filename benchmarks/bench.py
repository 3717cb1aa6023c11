"""The settings that all sections share: folder, repetitions, model and data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import material, midsize, peers
from benchmarks.contender import Contender
from benchmarks.plain import Plain
from benchmarks.product import Product
from benchmarks.timing import Turn


@dataclass(frozen=True)
class Bench:
    """A session of measurements.

    Attributes:
        folder: for weights, clips and the output of trainers.
        quick: little data, to test that the sections run.
        rounds: number of counted turns of each contender.
        steps: number of timed optimizer steps in a turn.
        real: the folders of real speech and of judges of real weights, or nothing.
        alone: leave out the contenders in separate environments.
        together: measure dramaeval, plain transformers and TRL in one process.
    """

    folder: Path
    quick: bool = False
    rounds: int = 5
    steps: int = 3
    together: bool = False
    alone: bool = False
    real: tuple[Path, ...] = ()

    def contender(self, make: Callable[..., Turn], *given: Any) -> Turn:
        """The turns of what ``make(*given)`` returns, in a process of their own unless all are measured together."""
        return make(*given) if self.together else Contender(make, *given)

    @property
    def model(self) -> Path:
        """The folder of the mid-size model."""
        return midsize.write(self.folder / "midsize")

    @property
    def file(self) -> Path:
        """The JSONL file of the records."""
        return material.write(self.folder / "records", 40)

    def product(self, *overrides: str) -> Product:
        """dramaeval with this session's model and data."""
        return Product(self.model, self.file, self.folder / "product", *overrides)

    def plain(self, product: Product, *, lora: bool = False) -> Plain:
        """Plain transformers with the same weights, records, prompts and frozen parts."""
        frozen = bool(product.config.model.freeze_audio)
        return Plain(self.model, product.task, product.records, lora=lora, freeze_audio=frozen)

    def peers(self) -> list[peers.Peer]:
        """The contenders that are installed in separate environments."""
        return [] if self.alone else peers.installed(self.folder, self.model)

    def missing_peers(self) -> str:
        """A note on those that are not installed; empty if all are."""
        return "" if self.alone else peers.missing(self.folder)


def peft_of(lora: bool) -> Sequence[str]:
    """The override that trains a LoRA adapter or all weights."""
    return ("peft=lora",) if lora else ("peft=none",)
