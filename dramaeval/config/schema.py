"""The root schema: the project's own settings, typed, each with a line of help.

Settings of other libraries (``peft``, ``trainer.args``) are not repeated here: they sit under their own
``_target_`` and are checked against its constructor by `dramaeval.config.check`. This module is imported by
``--help`` and shell completion, so it imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, IntegerNode, OmegaConf


class Stage(Enum):
    """What a run does, in this order."""

    prepare = "prepare"
    train = "train"
    evaluate = "evaluate"
    export = "export"


class OnBad(Enum):
    """What happens to a file with bad records."""

    stop = "stop"
    skip = "skip"


class OnLong(Enum):
    """What happens to a clip that is longer than the model hears."""

    error = "error"
    trim = "trim"


class Device(Enum):
    """Where the model runs; auto takes a GPU if there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@dataclass(kw_only=True)
class DataConfig:
    """Where the records are and what is done about bad ones."""

    train: str | None = None  # JSONL files; null where a split is not used
    val: str | None = None
    test: str | None = None
    sample: str | None = (
        None  # folder of train, val and test.jsonl for when none of the three is given
    )
    audio_root: str | None = None  # folder in which wav_path is looked up after the JSONL's own
    on_bad: OnBad = OnBad.stop  # stop: report all bad records and end; skip: go on without them
    max_seconds: float = 30.0  # the longest clip, in seconds; Qwen2-Audio hears at most 30
    on_long: OnLong = OnLong.error  # error: a longer clip is a bad record; trim: keep its beginning
    workers: int = 8  # threads that read audio headers


@dataclass(kw_only=True)
class BatchConfig:
    """How questions are put into forward passes."""

    questions_per_clip: int | None = None  # drawn per clip and step in training; null takes all
    shared_prefix: bool = True  # compute what a clip's questions share once; false: one row each
    per_device: int | None = None  # clips a training pass and process; null: trainer.args, or 4
    eval_clips: int = 8  # clips a forward pass in evaluation
    cache_clips: int = 2048  # clips whose log-mel features stay in memory


@dataclass(kw_only=True)
class EvaluationConfig:
    """How agreement with people is measured."""

    draws: int = 2000  # bootstrap draws for the confidence intervals
    level: float = 0.95  # their confidence
    zero_shot: bool = True  # also score the judge before training
    group_by: str = "character"  # record key whose groups the bootstrap keeps together
    metrics: list[Any] = field(
        default_factory=list
    )  # your own, by _target_, beside the standard ones


@dataclass(kw_only=True)
class ExportConfig:
    """What stages=[export] writes."""

    merge: bool = False  # true: a full model with the adapter worked into its weights


@dataclass(kw_only=True)
class Root:
    """Everything a run is made of."""

    stages: list[Stage] = field(default_factory=lambda: [Stage.train, Stage.evaluate])
    checkpoint: str | None = None  # a run, model or adapter folder to start from
    plan: bool = False  # check everything, print the plan and stop
    debug: bool = False  # find out what a training does: anomalies, first batch, profile
    seed: int = 0  # governs everything random
    device: Device = Device.auto
    processes: int = 1  # that launch.py starts on this machine; torchrun brings its own number
    adapt: Any = "llm"  # parts that get adapters: llm, audio, projector, all, or a list
    model: Any = MISSING
    task: Any = MISSING  # a task class's arguments, with `labels`, `label_policies` and `data`
    peft: Any = None
    quantization: Any = None  # transformers.BitsAndBytesConfig of the language model; none if empty
    zero: Any = None
    trainer: Any = MISSING
    logger: Any = None
    batch: BatchConfig = field(default_factory=BatchConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    export: ExportConfig = field(default_factory=ExportConfig)


SPLITS = ("train", "val", "test")


def split_files(data: Any) -> dict[str, str]:
    """The JSONL file of each split of a `DataConfig`: those given, or else all of the bundled sample's."""
    given = {name: data[name] for name in SPLITS if data.get(name)}
    if given or not data.get("sample"):
        return given
    return {name: str(Path(data.sample) / f"{name}.jsonl") for name in SPLITS}


PACKAGE = Path(__file__).resolve().parents[1]


def register() -> None:
    """Tell Hydra the schema, and OmegaConf the ``${package:…}`` path inside the installed package."""
    root = OmegaConf.structured(Root)
    # Settings of other libraries take any key of theirs without a `+`; `check` compares them with the
    # library's own constructor. An explicit flag survives the merging of configs.
    root.peft = OmegaConf.create({}, flags={"struct": False})
    root.quantization = OmegaConf.create({}, flags={"struct": False})
    root.trainer = OmegaConf.create({"args": OmegaConf.create({}, flags={"struct": False})})
    # So does a task: its class may have arguments of its own. Its data settings stay typed.
    root.task = OmegaConf.create({}, flags={"struct": False})
    root.task.data = OmegaConf.structured(DataConfig)
    OmegaConf.set_struct(root.task.data, True)
    # A keyword of Python's, so no field of `BatchConfig`: clips of an optimizer step over all processes;
    # null where trainer.args says the factors.
    OmegaConf.set_struct(root.batch, False)
    root.batch["global"] = IntegerNode(None)
    OmegaConf.set_struct(root.batch, None)
    ConfigStore.instance().store(name="schema", node=root)
    OmegaConf.register_new_resolver(
        "package", lambda relative: str(PACKAGE / relative), replace=True
    )
