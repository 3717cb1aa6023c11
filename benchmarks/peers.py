"""Peers that bring an environment of their own: ms-swift and LLaMA-Factory, through their own commands.

    python -m benchmarks.peers install [ms-swift] [llama-factory] [--folder outputs/benchmarks]
    python -m benchmarks.peers list

`install` makes a virtual environment in the folder's ``environments/NAME`` and installs exactly the
versions below (about 2 GB and five minutes each). Where one is there, the sections take it as one more
contender.

A turn writes the rows in the peer's own format and starts its own command. The clock is read when a line of
the command's output arrives: both print a line with the loss at the end of every optimizer step, and a step's
time is that from one such line to the next, its data included. Start-up and the first step are left out and
the median is taken, as `training.StepTimes` does. Scoring is timed in the same way, from one update of the
progress bar to the next, a batch being the ten questions of one clip; neither has a setting for the least
number of tokens, so an answer may end sooner than after eight.

The rows are those of the plain Trainer, in its order. What the peers do differently is their own, for example
that both leave the audio tower's sinusoids trainable in a full fine-tuning.
"""

from __future__ import annotations

import argparse
import json
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

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
#: A loss in the line that a step ends with; ``train_loss`` closes a training and is none.
_LOSS = re.compile(r"'loss': '?([\d.]+)")
#: A progress bar without a name: those of reading data and weights have one.
_BAR = re.compile(r"^\s*\d+%\|.*?\| (\d+)/(\d+) \[")
#: Nothing is asked of a hub, and nothing of this process's own modules is found.
_LEFT_OUT = ("PYTHONPATH", "VIRTUAL_ENV")
_SURROUNDINGS = {
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
#: What both are given in the same words.
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
    """What a command printed and took.

    Attributes:
        lines: text with the second (of a monotonic clock) at which it arrived.
        peak: greatest resident memory of one of its processes, MiB.
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
    """A program with an environment of its own.

    Args:
        folder: the benchmark's; the environment is in its ``environments``, what it writes in ``peer``.
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
        """Whether the environment has the versions that are asked for."""
        return self.found == self.versions

    @property
    def found(self) -> dict[str, str]:
        """The versions that are there, of the packages that are pinned."""
        places = [str(one) for one in self.environment.glob("lib/python*/site-packages")]
        there = {
            one.metadata["Name"].lower().replace("_", "-"): one.version.partition("+")[0]
            for one in (distributions(path=places) if places else ())
        }
        return {name: there[name] for name in self.versions if name in there}

    def install(self) -> None:
        """Make the environment, anew where there is one."""
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
        """Take so many optimizer steps over the rows of `plain.Questions`, in their order."""
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
        """Write so many tokens to each question, ``batch`` at a time."""
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
        """Where the progress bar of answering so many clips ends."""

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
            rest = b""
            while chunk := os.read(process.stdout.fileno(), 65536):  # type: ignore[union-attr]
                now = time.perf_counter()
                # A progress bar ends its text with a carriage return that comes before the next one.
                *done, rest = re.split(rb"[\r\n]", rest + chunk)
                if _BAR.match(rest.decode("utf-8", "replace")):
                    done, rest = [*done, rest], b""
                lines += [(now, one.decode("utf-8", "replace")) for one in done if one.strip()]
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        text = "\n".join(one for _, one in lines)
        (work / "output.log").write_text(text + "\n", encoding="utf-8")
        if process.returncode:
            raise RuntimeError(
                f"{self.name} ended with {process.returncode}: {' '.join(command)}\n{text[-4000:]}"
            )
        return Output(lines, usage.ru_maxrss / 1024)


class Swift(Peer):
    """ms-swift: ``swift sft`` and ``swift infer``."""

    name = "ms-swift"
    directory = "ms-swift"
    command = "swift"
    versions: ClassVar[dict[str, str]] = {
        "ms-swift": "4.6.0",
        "torch": "2.13.0",
        "transformers": "5.19.0",
        "trl": "0.29.1",
        "peft": "0.20.0",
        "accelerate": "1.15.0",
        "datasets": "4.8.4",
        "librosa": "0.11.0",
        "soundfile": "0.14.0",
    }
    _common = (
        "--model_type",
        "qwen2_audio",
        "--template",
        "qwen2_audio",
        "--torch_dtype",
        "float32",
    )

    def _write(self, work: Path, rows: Sequence[dict[str, Any]]) -> None:
        # Its template writes "Audio 1: " and the line break around the tag by itself.
        made = [_chat(row, "<audio>") for row in rows]
        text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in made)
        (work / "rows.jsonl").write_text(text, encoding="utf-8")

    def _training(self, work: Path, given: dict[str, Any], *, lora: bool) -> list[str]:
        given |= {
            "model": self._with_ignore_index(work),
            "dataset": work / "rows.jsonl",
            "split_dataset_ratio": 0,
            "dataset_shuffle": False,
            "train_dataloader_shuffle": False,
            "gradient_checkpointing": False,
            "add_version": False,
            "attn_impl": "sdpa",
            "tuner_type": "lora" if lora else "full",
        }
        if lora:
            given["target_regex"] = rf".*language_model.*\.({'|'.join(PROJECTIONS)})"
        else:
            given |= {"freeze_vit": False, "freeze_aligner": False}
        return ["sft", *self._common, *_flags(given)]

    def _answering(self, work: Path, batch: int, tokens: int) -> list[str]:
        given = {
            "model": self._with_ignore_index(work),
            "val_dataset": work / "rows.jsonl",
            "attn_impl": "sdpa",
            "infer_backend": "transformers",
            "max_batch_size": batch,
            "max_new_tokens": tokens,
            "temperature": 0,
            "result_path": work / "answers.jsonl",
        }
        return ["infer", *self._common, *_flags(given)]

    def _with_ignore_index(self, work: Path) -> Path:
        """The same weights with ``ignore_index`` in their config, as the published checkpoint has it.

        ms-swift leaves the audio tag of a prompt unexpanded, so that transformers merges in its old way,
        which reads this key; transformers 5 neither needs nor writes it otherwise.
        """
        folder = work / "model"
        folder.mkdir()
        for file in self.model.iterdir():
            if file.name != "config.json":
                (folder / file.name).symlink_to(file.absolute())
        config = json.loads((self.model / "config.json").read_text("utf-8"))
        config.setdefault("ignore_index", -100)
        (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        return folder

    def bar(self, clips: int, questions: int) -> int:
        """It counts questions."""
        return clips * questions


class Factory(Peer):
    """LLaMA-Factory: ``llamafactory-cli train``, for answers with ``do_predict``."""

    name = "LLaMA-Factory"
    directory = "llama-factory"
    command = "llamafactory-cli"
    versions: ClassVar[dict[str, str]] = {
        "llamafactory": "0.9.5",
        "torch": "2.13.0",
        "transformers": "5.6.0",
        "trl": "0.24.0",
        "peft": "0.18.1",
        "accelerate": "1.11.0",
        "datasets": "4.0.0",
        "librosa": "0.11.0",
        "soundfile": "0.14.0",
        # It asks for these three when it writes answers.
        "jieba": "0.42.1",
        "nltk": "3.10.4",
        "rouge-chinese": "1.0.3",
    }

    def _write(self, work: Path, rows: Sequence[dict[str, Any]]) -> None:
        made = [_chat(row, "Audio 1: <audio>\n") for row in rows]
        (work / "rows.json").write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")
        tags = {"role_tag": "role", "content_tag": "content", "system_tag": "system"}
        tags |= {"user_tag": "user", "assistant_tag": "assistant"}
        columns = {"messages": "messages", "audios": "audios"}
        about = {
            "file_name": "rows.json",
            "formatting": "sharegpt",
            "columns": columns,
            "tags": tags,
        }
        (work / "dataset_info.json").write_text(json.dumps({"bench": about}), encoding="utf-8")

    def install(self) -> None:
        """Make the environment, and let it start where torch is a CPU build.

        The index's torchvision and torchaudio are built against CUDA and fail on import beside such a torch.
        transformers does without the first. The second is imported to read clips: 2.8 is the last that reads
        with soundfile (later ones want torchcodec and FFmpeg), and without its compiled files it resamples
        in Python, as it does anyway.
        """
        super().install()
        pip = str(self.environment / "bin" / "pip")
        subprocess.run([pip, "uninstall", "-y", "torchvision"], check=True)
        subprocess.run([pip, "install", "--no-deps", "torchaudio==2.8.0"], check=True)
        for file in self.environment.glob("lib/python*/site-packages/torchaudio/lib/*.so"):
            file.unlink()

    def _common(self, work: Path) -> dict[str, Any]:
        return {
            "model_name_or_path": str(self.model),
            "stage": "sft",
            "template": "qwen2_audio",
            "dataset_dir": str(work),
            "cutoff_len": 4096,
            "overwrite_cache": True,
            "flash_attn": "sdpa",
        }

    def _training(self, work: Path, given: dict[str, Any], *, lora: bool) -> list[str]:
        given |= self._common(work) | {
            "dataset": "bench",
            "do_train": True,
            "disable_shuffling": True,
            "disable_gradient_checkpointing": True,
            "finetuning_type": "lora" if lora else "full",
        }
        if lora:
            # Its tower is frozen as it comes, so that these names are found in the language model alone.
            given["lora_target"] = ",".join(PROJECTIONS)
        else:
            given |= {"freeze_vision_tower": False, "freeze_multi_modal_projector": False}
        return self._settings(work, given)

    def _answering(self, work: Path, batch: int, tokens: int) -> list[str]:
        given = self._common(work) | {
            "eval_dataset": "bench",
            "do_predict": True,
            "predict_with_generate": True,
            "finetuning_type": "full",
            "per_device_eval_batch_size": batch,
            "max_new_tokens": tokens,
            "do_sample": False,
            "output_dir": str(work / "out"),
            "report_to": "none",
        }
        return self._settings(work, given)

    @staticmethod
    def _settings(work: Path, given: dict[str, Any]) -> list[str]:
        # JSON is YAML too; 0.9.5 ends with an AttributeError over a file that is called .json.
        file = work / "settings.yaml"
        file.write_text(json.dumps(given, indent=1), encoding="utf-8")
        return ["train", str(file)]

    def bar(self, clips: int, questions: int) -> int:
        """It counts batches, of which a clip is one."""
        return clips


def in_order(rows: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The first rows in the order in which transformers' Trainer takes them with its own seed."""
    import torch

    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(42))
    return [rows[at] for at in order[:count].tolist()]


def missing(folder: Path) -> str:
    """What a row has to say of peers that are not there; empty where all are."""
    names = [kind.name for kind in KINDS if not kind(folder, Path()).installed]
    return f"{' and '.join(names)} not installed" if names else ""


KINDS: tuple[type[Peer], ...] = (Swift, Factory)


def installed(folder: Path, model: Path) -> list[Peer]:
    """The peers whose environments are there."""
    return [one for kind in KINDS if (one := kind(folder, model)).installed]


def _flags(given: dict[str, Any]) -> list[str]:
    return [word for key, value in given.items() for word in (f"--{key}", str(value))]


def _chat(row: dict[str, Any], tag: str) -> dict[str, Any]:
    """A row with its messages as text, the clip being a tag in them."""
    messages = []
    for message in row["messages"]:
        content = message["content"]
        if not isinstance(content, str):
            content = "".join(tag if part["type"] == "audio" else part["text"] for part in content)
        messages.append({"role": message["role"], "content": content})
    # The end of the turn is in the peers' templates.
    answer = row["answer"].removesuffix("<|im_end|>")
    return {
        "messages": [*messages, {"role": "assistant", "content": answer}],
        "audios": [row["clip"]],
    }


def main() -> None:
    """Install peers, or tell what is there."""
    parser = argparse.ArgumentParser(description="Environments of ms-swift and LLaMA-Factory.")
    parser.add_argument("action", choices=("install", "list"))
    names = {kind.directory: kind for kind in KINDS}
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"{' or '.join(names)}; else both")
    default = Path(__file__).resolve().parents[1] / "outputs" / "benchmarks"
    parser.add_argument("--folder", type=Path, default=default)
    given = parser.parse_args()
    if unknown := set(given.peers) - set(names):
        parser.error(f"there is no peer {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    for name in given.peers or names:
        peer = names[name](given.folder.absolute(), Path())
        if given.action == "install":
            peer.install()
        state = "installed" if peer.installed else "not installed as pinned"
        print(f"{peer.name} in {peer.environment}: {state}; {peer.found}")


if __name__ == "__main__":
    main()
