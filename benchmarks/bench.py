"""The settings that all sections share: folder, repetitions, model and data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import material, midsize
from benchmarks.plain import Plain
from benchmarks.product import Product


@dataclass(frozen=True)
class Bench:
    """A session of measurements.

    Attributes:
        folder: for weights, clips and the output of trainers.
        quick: little data, to test that the sections run.
        rounds: number of counted turns of each contender.
        steps: number of timed optimizer steps in a turn.
    """

    folder: Path
    quick: bool = False
    rounds: int = 5
    steps: int = 3

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
        """Plain transformers with the same weights, records and prompts."""
        return Plain(self.model, product.task, product.records, lora=lora)


def peft_of(lora: bool) -> Sequence[str]:
    """The override that trains a LoRA adapter or all weights."""
    return ("peft=lora",) if lora else ("peft=none",)
