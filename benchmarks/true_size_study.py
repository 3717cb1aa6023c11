"""The folders, commands and processes of `benchmarks.true_size`, with the memory of each process beside its plan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.peak import anonymous_of, peak_of
from benchmarks.sections import Figure

ROOT = Path(__file__).resolve().parents[1]
#: Memory that every section has to stay within, in MiB.
LIMIT = 24 * 1024
#: How far the peak may be from the plan.
TOLERANCE = 0.1


@dataclass(frozen=True)
class Study:
    """The folders and the size.

    Attributes:
        folder: for checkpoint, records and runs.
        processor: the folder of Qwen2-Audio's processor.
        small: tiny widths.
    """

    folder: Path
    processor: Path
    small: bool = False

    @property
    def checkpoint(self) -> Path:
        """The folder of the random checkpoint."""
        return self.folder / "checkpoint"

    @cached_property
    def records(self) -> Path:
        """Two records with ten rated dimensions."""
        from benchmarks import material

        return material.write(self.folder / "records", 2)

    @property
    def first_record(self) -> Path:
        """The first record alone."""
        file = self.records.with_name("first.jsonl")
        file.write_text(self.records.read_text("utf-8").splitlines()[0] + "\n", encoding="utf-8")
        return file

    def run(self, name: str) -> Path:
        """A run folder."""
        return self.folder / "runs" / name

    def words(self, *overrides: str) -> list[str]:
        """The overrides of a run of launch.py."""
        return [
            "model=qwen2_audio" if self.small else "model=qwen2_audio_7b",
            f"model.path={self.checkpoint}",
            "model.dtype=bfloat16",
            "device=cpu",
            "logger=none",
            "cache.enabled=false",
            f"task.data.train={self.records}",
            *overrides,
        ]

    def launch(self, name: str, *overrides: str, mapped: int | None = None) -> Iterator[Figure]:
        """A run of launch.py to its end; peak memory against the plan.

        Args:
            name: of the run's folder.
            overrides: of the run.
            mapped: see `Finished.figures`.

        Raises:
            RuntimeError: the run failed.
        """
        words = self.words(*overrides)
        planned = self.planned(words)
        done = self.process(self.command(name, words))
        yield from done.figures(planned, mapped=mapped)

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        """The command line of a run."""
        return [sys.executable, "launch.py", *words, f"hydra.run.dir={self.run(name)}"]

    def planned(self, words: Sequence[str]) -> float:
        """The plan's bytes of memory."""
        from dramaeval.config.composition import compose
        from dramaeval.stages.checks import check
        from dramaeval.stages.context import RunContext
        from dramaeval.stages.planner import make_plan
        from dramaeval.stages.run_folder import RunFolder

        config = compose(*words)
        check(config)
        memory = make_plan(RunContext(config, RunFolder(self.folder / "plan"))).memory
        return memory.total + memory.host

    def process(
        self, command: Sequence[str], until: Callable[[], bool] = lambda: False
    ) -> Finished:
        """Run a command to its end, or kill it with SIGKILL as soon as ``until`` is true.

        Raises:
            RuntimeError: it failed.
        """
        log = self.folder / f"log_{os.getpid()}.txt"
        began, peak, anonymous, killed, next_look = time.monotonic(), 0.0, 0.0, False, 0.0
        with log.open("w", encoding="utf-8") as output:
            started = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
            while True:
                number, status, usage = os.wait4(started.pid, os.WNOHANG)
                if number:
                    break
                # Looking through all processes takes time.
                if time.monotonic() >= next_look:
                    peak, next_look = max(peak, peak_of(started.pid)), time.monotonic() + 0.5
                    anonymous = max(anonymous, anonymous_of(started.pid))
                if not killed and until():
                    killed = True
                    os.kill(started.pid, signal.SIGKILL)
                time.sleep(0.05)
        started.returncode = os.waitstatus_to_exitcode(status)
        text = log.read_text("utf-8", errors="replace")
        if started.returncode and not killed:
            raise RuntimeError(
                f"{' '.join(command[1:4])} … ended with {started.returncode}: {text[-1500:]}"
            )
        cpu = usage.ru_utime + usage.ru_stime
        return Finished(peak, anonymous, time.monotonic() - began, cpu, killed, text)


@dataclass(frozen=True)
class Finished:
    """A process that has ended.

    Attributes:
        peak: its largest resident size in MiB.
        anonymous: its largest memory without mapped files in MiB, of looks every half second.
        seconds: wall time.
        cpu: processor time in seconds.
        killed: whether it was killed on purpose.
        text: its output.
    """

    peak: float
    anonymous: float
    seconds: float
    cpu: float
    killed: bool
    text: str

    def figures(
        self, planned: float | None = None, *, mapped: int | None = None
    ) -> Iterator[Figure]:
        """The times of the process, and its memory beside the plan and the limit.

        Args:
            planned: bytes.
            mapped: the bytes of the weights that stay pages of the checkpoint's files. Pages of other weights, which
                are read once, are in the resident size until the system drops them. None: all mapped files count.
        """
        yield Figure(name="wall time", value=self.seconds, unit="s")
        yield Figure(name="processor time", value=self.cpu, unit="s")
        yield Figure(name="peak memory", value=self.peak / 1024, unit="GiB")
        yield Figure(
            name="peak memory without mapped files", value=self.anonymous / 1024, unit="GiB"
        )
        yield Figure(name="within 24 GiB", value=self.peak <= LIMIT)
        if planned is not None:
            needed = self.peak if mapped is None else self.anonymous + mapped / 2**20
            ratio = needed * 2**20 / planned
            within = "within" if abs(ratio - 1) < TOLERANCE + 1e-9 else "not within"
            yield Figure(
                name="peak memory ÷ plan" if mapped is None else "needed memory ÷ plan", value=ratio,
                note=f"the plan has {planned / 2**30:.1f} GiB; {within} 10 %",
            )  # fmt: skip
