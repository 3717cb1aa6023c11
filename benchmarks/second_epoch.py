"""Measures a second epoch with a frozen audio encoder, with and without the cache, and its audio operations."""

from __future__ import annotations

import time
from typing import Any

from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback

from benchmarks.bench import Bench
from benchmarks.product import TIMED
from benchmarks.timing import OURS, Row

WITHOUT = "cache.enabled=false"
#: Operations that only a clip asks for: the encoder's convolutions and the spectrum.
AUDIO = ("aten::_convolution", "aten::stft", "aten::_fft_r2c")


class SecondEpoch(TrainerCallback):
    """Times and profiles all epochs after the first."""

    def __init__(self) -> None:
        self.profile: Any = None
        self.began = self.seconds = 0.0

    def on_epoch_begin(self, args: Any, state: Any, *given: Any, **kwargs: Any) -> None:
        """See transformers."""
        if round(state.epoch or 0) == 1:
            self.profile = profile(activities=[ProfilerActivity.CPU], acc_events=True)
            self.profile.start()
            self.began = time.perf_counter()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """See transformers."""
        self.seconds = time.perf_counter() - self.began
        self.profile.stop()

    def audio(self) -> int:
        """The number of audio operations in the second epoch."""
        return sum(one.count for one in self.profile.key_averages() if one.key in AUDIO)


def frozen_tower(bench: Bench) -> list[Row]:
    """Two epochs of LoRA over a few clips with one question each, so that the share of audio is as large as possible."""
    count = 4 if bench.quick else 12
    found: dict[str, list[float]] = {OURS: [], WITHOUT: []}
    facts: dict[str, Any] = {}
    for number in range(bench.rounds):
        for name, own in ((OURS, True), (WITHOUT, False)):
            notes = SecondEpoch()
            product = bench.product(
                *TIMED[:-1], "peft=lora", "batch.questions_per_clip=1", "batch.per_device=2",
                "trainer.args.num_train_epochs=2", f"cache.enabled={own}",
                f"cache.folder={bench.folder / 'cache' / str(number)}",
            )  # fmt: skip
            product.records = product.records[:count]
            trainer = product.trainer(notes)
            trainer.train()
            found[name].append(notes.seconds / count)
            facts[f"audio operations in the second epoch, {name}"] = notes.audio()
    return [
        Row(
            section="second_epoch",
            work="a second epoch with a frozen tower, one question a clip, LoRA",
            unit="s a question",
            rounds=found,
            facts=facts,
            note="the profiler slows both down",
        )
    ]
