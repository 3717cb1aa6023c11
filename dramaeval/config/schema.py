"""The root schema: the project's own settings, typed, each with a line of help.

Settings of other libraries (``peft``, ``trainer.args``) are not repeated here: they sit under their own
``_target_`` and are checked against its constructor by `dramaeval.stages.checks`. This module is imported by
``--help`` and shell completion, so it imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, IntegerNode, OmegaConf

from dramaeval.config.run_id import run_id

ATTENTIONS = ("sdpa", "eager", "flash_attention_2")
DTYPES = ("auto", "float32", "bfloat16", "float16")


class Stage(Enum):
    """What a run does, in this order."""

    prepare = "prepare"
    train = "train"
    evaluate = "evaluate"
    controls = "controls"
    score = "score"
    leaderboard = "leaderboard"
    report = "report"
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
    max_tokens: int | None = None  # tokens a training pass, in place of per_device and global
    per_device: int | None = None  # clips a training pass and process; null: trainer.args, or 4
    eval_clips: int = 8  # clips a forward pass in evaluation
    cache_clips: int = 2048  # clips whose log-mel features stay in memory


@dataclass(kw_only=True)
class CacheConfig:
    """What clips were made into, kept on disk for second epochs and further runs."""

    enabled: bool = True  # false: every process works out every clip
    folder: str = "~/.cache/dramaeval/features"  # new, empty or made by the cache; "": none
    max_gb: float = (
        20.0  # the bound on a user's entries, in 10^9 bytes; the least recently used go first
    )


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
    slices: list[str] = field(
        default_factory=lambda: ["language", "system", "character_seen", "length", "recorded"]
    )  # how results are divided up: these names, or any key of the records
    controls: list[str] = field(
        default_factory=lambda: [
            "training_mean",
            "transcript_only",
            "shuffled_audio",
            "silence",
            "prosody",
            "phrasing",
        ]
    )  # what stages=[evaluate,controls] compares the judge with
    phrasings: int = 5  # wordings of each question in the phrasing control
    prosody_clips: int = 2000  # training clips that the prosody control learns from, at most
    html: bool = True  # write report.html after evaluation


@dataclass(kw_only=True)
class ExportConfig:
    """What stages=[export] writes."""

    merge: bool = False  # true: a full model with the adapter worked into its weights


@dataclass(kw_only=True)
class LaunchConfig:
    """How the runs of a sweep are sent off."""

    check: bool = False  # send nothing; print what would be sent and what each process would run
    detach: bool = False  # come back once SLURM has the jobs; stages=[report] sweep=PATH collects
    trust: bool = (
        False  # resume=true also runs a sweep that another account wrote, whatever it names
    )


@dataclass(kw_only=True)
class ReportConfig:
    """What stages=[report] compares."""

    split: str | None = None  # val or test; null: test where every run has it
    phase: str | None = None  # zero_shot or final; null: the last that a run has


@dataclass(kw_only=True)
class Root:
    """Everything a run is made of."""

    stages: list[Stage] = field(default_factory=lambda: [Stage.train, Stage.evaluate])
    checkpoint: str | None = None  # a run, model or adapter folder to start from
    input: str | None = (
        None  # JSONL of clips for stages=[score] and [leaderboard]; need not be rated
    )
    runs: list[str] = field(default_factory=list)  # folders that stages=[report] compares
    plan: bool = False  # check everything, print the plan and stop
    plan_force: bool = False  # go on although the plan needs more memory than there is
    debug: bool = False  # find out what a training does: anomalies, first batch, profile
    sweep: str | None = None  # a sweep's folder, for stages=[report] or resume=true
    resume: bool = False  # run again what has not finished in the folder that `sweep` names
    launch: LaunchConfig = field(default_factory=LaunchConfig)
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
    cache: CacheConfig = field(default_factory=CacheConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    export: ExportConfig = field(default_factory=ExportConfig)


def is_about_a_sweep(config: Any) -> bool:
    """Whether a command is about a sweep that is there, and not a run."""
    collects = Stage.report in config.stages and not config.runs
    return config.sweep is not None or config.resume or collects


SPLITS = ("train", "val", "test")


def split_files(data: Any) -> dict[str, str]:
    """The JSONL file of each split of a `DataConfig`: those given, or else all of the bundled sample's."""
    given = {name: data[name] for name in SPLITS if data.get(name)}
    if given or not data.get("sample"):
        return given
    return {name: str(Path(data.sample) / f"{name}.jsonl") for name in SPLITS}


PACKAGE = Path(__file__).resolve().parents[1]


def root() -> DictConfig:
    """The schema as a configuration without values of other libraries."""
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
    return root


def register() -> None:
    """Tell Hydra the schema, and OmegaConf ``${package:…}``, a path inside the installed package, and
    ``${run_id:}``, the short id of the configuration."""
    ConfigStore.instance().store(name="schema", node=root())
    # A launcher's and a sweeper's options are checked all at once by themselves, with the valid ones at hand.
    anything = OmegaConf.create({}, flags={"struct": False})
    for group in ("hydra/launcher", "hydra/sweeper"):
        ConfigStore.instance().store(group=group, name="open", node=anything)
    OmegaConf.register_new_resolver(
        "package", lambda relative: str(PACKAGE / relative), replace=True
    )
    OmegaConf.register_new_resolver(
        "run_id", lambda *, _root_: run_id(_root_), use_cache=False, replace=True
    )
