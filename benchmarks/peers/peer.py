"""The base class of contenders with a separate environment: installs, starts and times them."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.peak import peak_of

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
#: A loss in the last line of a step; ``train_loss`` in the last line of a training does not count.
_LOSS = re.compile(r"'loss': '?([\d.]+)")
#: A progress bar without a name; the bars for reading data and weights have names.
_BAR = re.compile(r"^\s*\d+%\|.*?\| (\d+)/(\d+) \[")
#: No requests to a hub, and no modules of this process.
_LEFT_OUT = ("PYTHONPATH", "VIRTUAL_ENV")
_SURROUNDINGS = {
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
#: Settings that have the same names in both peers.
_TRAINING: dict[str, Any] = {
    "learning_rate": 1e-4,
    "lr_scheduler_type": "constant",
    "weight_decay": 0.01,
    "warmup_ratio": 0,
    "logging_steps": 1,
    "save_strategy": "no",
    "eval_strategy": "no",
    "report_to": "none",
    "dataloader_num_workers": 0,
    "lora_rank": 16,
    "lora_alpha": 32,
    "lora_dropout": 0,
}


@dataclass(frozen=True)
class Output:
    """The output and the memory of a command.

    Attributes:
        lines: text with its time of arrival, in seconds of a monotonic clock.
        peak: largest resident memory of one of its processes, in MiB.
    """

    lines: Sequence[tuple[float, str]]
    peak: float

    @property
    def losses(self) -> list[float]:
        """The loss of every optimizer step."""
        return [float(one.group(1)) for _, text in self.lines if (one := _LOSS.search(text))]

    @property
    def step(self) -> float:
        """Median seconds of an optimizer step; the first is left out."""
        return _between([when for when, text in self.lines if _LOSS.search(text)])

    def batch(self, total: int) -> float:
        """Median seconds between updates of the nameless bar that ends at ``total``."""
        ends: dict[int, float] = {}
        for when, text in self.lines:
            found = _BAR.match(text)
            if found and int(found.group(2)) == total and int(found.group(1)):
                ends.setdefault(int(found.group(1)), when)
        return _between(list(ends.values()))


def _between(ends: Sequence[float]) -> float:
    if len(ends) < 2:
        raise RuntimeError(f"two ends of a step are needed, the command printed {len(ends)}")
    return statistics.median(later - sooner for sooner, later in pairwise(ends))


@dataclass(frozen=True)
class Peer(ABC):
    """A program with a separate environment.

    Args:
        folder: of the benchmark; the environment is in ``environments``, the output in ``peer``.
        model: the folder of the weights.
    """

    folder: Path
    model: Path
    name: ClassVar[str]
    directory: ClassVar[str]
    command: ClassVar[str]
    versions: ClassVar[dict[str, str]]

    @property
    def environment(self) -> Path:
        """The virtual environment."""
        return self.folder / "environments" / self.directory

    @property
    def installed(self) -> bool:
        """Whether the environment has the pinned versions."""
        return self.found == self.versions

    @property
    def found(self) -> dict[str, str]:
        """The installed versions of the pinned packages."""
        places = [str(one) for one in self.environment.glob("lib/python*/site-packages")]
        there = {
            one.metadata["Name"].lower().replace("_", "-"): one.version.partition("+")[0]
            for one in (distributions(path=places) if places else ())
        }
        return {name: there[name] for name in self.versions if name in there}

    def install(self) -> None:
        """Create the environment; replace an existing one."""
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.environment)], check=True)
        pins = [f"{name}=={version}" for name, version in self.versions.items()]
        # Constraints too: a dependency of a dependency could ask for a torch with gigabytes of CUDA.
        constraints = self.environment / "constraints.txt"
        constraints.write_text("\n".join(pins) + "\n", encoding="utf-8")
        pip = str(self.environment / "bin" / "pip")
        subprocess.run([pip, "install", "-c", str(constraints), *pins], check=True)

    def train(
        self, rows: Sequence[dict[str, Any]], *, lora: bool, steps: int, batch: int, accumulate: int
    ) -> Output:
        """Train for a number of optimizer steps on the rows of `plain.Questions`, in their order."""
        work = self._work()
        self._write(work, rows)
        given = {
            **_TRAINING,
            "max_steps": steps,
            "per_device_train_batch_size": batch,
            "gradient_accumulation_steps": accumulate,
            "output_dir": str(work / "out"),
        }
        return self._run(work, self._training(work, given, lora=lora))

    def answer(self, rows: Sequence[dict[str, Any]], batch: int, tokens: int = 8) -> Output:
        """Generate a number of tokens for each question, in batches of ``batch``."""
        work = self._work()
        self._write(work, rows)
        return self._run(work, self._answering(work, batch, tokens))

    @abstractmethod
    def _write(self, work: Path, rows: Sequence[dict[str, Any]]) -> None:
        """Write the rows in the peer's format."""

    @abstractmethod
    def _training(self, work: Path, given: dict[str, Any], *, lora: bool) -> list[str]:
        """The arguments of a training."""

    @abstractmethod
    def _answering(self, work: Path, batch: int, tokens: int) -> list[str]:
        """The arguments of answering."""

    @abstractmethod
    def bar(self, clips: int, questions: int) -> int:
        """The last value of the progress bar for a number of clips."""

    def _work(self) -> Path:
        work = self.folder / "peer" / self.directory
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        return work

    def _run(self, work: Path, arguments: Sequence[str]) -> Output:
        around = {key: value for key, value in os.environ.items() if key not in _LEFT_OUT}
        around |= _SURROUNDINGS
        around["PATH"] = f"{self.environment / 'bin'}{os.pathsep}{around.get('PATH', '')}"
        command = [str(self.environment / "bin" / self.command), *arguments]
        lines: list[tuple[float, str]] = []
        with subprocess.Popen(
            command, cwd=work, env=around, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            rest, peak = b"", 0.0
            while chunk := os.read(process.stdout.fileno(), 65536):  # type: ignore[union-attr]  # a pipe
                now = time.perf_counter()
                # Nothing after the last output of a run raises the peak.
                peak = max(peak, peak_of(process.pid))
                # A progress bar ends its text with a carriage return that comes before the next one.
                *done, rest = re.split(rb"[\r\n]", rest + chunk)
                if _BAR.match(rest.decode("utf-8", "replace")):
                    done, rest = [*done, rest], b""
                lines += [(now, one.decode("utf-8", "replace")) for one in done if one.strip()]
        text = "\n".join(one for _, one in lines)
        (work / "output.log").write_text(text + "\n", encoding="utf-8")
        if process.returncode:
            raise RuntimeError(
                f"{self.name} ended with {process.returncode}: {' '.join(command)}\n{text[-4000:]}"
            )
        return Output(lines, peak)


def as_chat(row: dict[str, Any], tag: str) -> dict[str, Any]:
    """A row with its messages as text, in which a tag stands for the clip."""
    messages = []
    for message in row["messages"]:
        content = message["content"]
        if not isinstance(content, str):
            content = "".join(tag if part["type"] == "audio" else part["text"] for part in content)
        messages.append({"role": message["role"], "content": content})
    # The peers' templates add the token that ends the turn.
    answer = row["answer"].removesuffix("<|im_end|>")
    return {
        "messages": [*messages, {"role": "assistant", "content": answer}],
        "audios": [row["clip"]],
    }
