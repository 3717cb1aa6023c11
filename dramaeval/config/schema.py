"""The schema of a run: every setting of this project with its type, default, limits and a line of help.

The common arguments of libraries are declared in `dramaeval.config.library_schema`. Their other arguments, ``trainer.args``
and the arguments of classes under a ``_target_`` are not: `dramaeval.stages.checks` compares them with the constructors'
signatures.
``--help`` and shell completion import this module, so it imports no heavy library. `dramaeval.config.registration`
registers the schema with Hydra.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

from dramaeval.config.fields import MAPPING, Limits, Setting, Target, setting
from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.config.library_schema import LoggerConfig, PeftConfig, QuantizationConfig, ZeroConfig
from dramaeval.config.model_schema import ModelConfig
from dramaeval.config.serve_settings import ServeConfig
from dramaeval.config.task_schema import TaskConfig

PACKAGE = Path(__file__).resolve().parents[1]


#: The stages of a run, in their order. ``import`` is a Python keyword, so that stage is written ``Stage["import"]``.
Stage = Enum(
    "Stage",
    {
        "import": "import",
        "prepare": "prepare",
        "train": "train",
        "evaluate": "evaluate",
        "controls": "controls",
        "score": "score",
        "leaderboard": "leaderboard",
        "report": "report",
        "export": "export",
        "serve": "serve",
    },
)


class Device(Enum):
    """The device of the model; auto takes a GPU if there is one."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


@dataclass(kw_only=True)
class TrainerConfig(Target):
    """``trainer``: a trainer's class and its arguments."""

    args: dict[str, Any] = setting(
        dict, help="TRL's configuration class (SFTConfig or GRPOConfig) and its arguments"
    )


@dataclass(kw_only=True)
class BatchConfig:
    """``batch``: how questions are put into forward passes."""

    questions_per_clip: int | None = setting(
        None, help="questions sampled for each clip and training step; null: all", minimum=1
    )
    shared_prefix: bool = setting(
        True,
        help="compute the tokens that a clip's questions share once; false: one row for each question",
    )
    max_tokens: int | None = setting(
        None,
        help="tokens of a training pass, padding included, instead of global and per_device; clips of "
        "similar length are batched together",
        minimum=1,
    )
    per_device: int | None = setting(
        None,
        help="clips of a training pass in one process; null: trainer.args.per_device_train_batch_size, or 4",
        minimum=1,
    )
    eval_clips: int = setting(8, help="clips of a forward pass in evaluation", minimum=1)
    cache_clips: int = setting(
        2048, help="clips whose log-mel features are kept in memory", minimum=1
    )

    KEYWORDS: ClassVar = (
        Setting(
            key="global",
            type=int | None,
            default=None,
            help="clips of an optimizer step over all processes; null: per_device × "
            "trainer.args.gradient_accumulation_steps × processes",
            limits=Limits(minimum=1),
        ),
    )


#: The controls, which are the names of modules in `dramaeval.evaluation.controls`.
CONTROLS = (
    "training_mean",
    "transcript_only",
    "shuffled_audio",
    "silence",
    "duration",
    "prosody",
    "encoder_probe",
    "phrasing",
    "invariance",
    "text_bias",
)


@dataclass(kw_only=True)
class CacheConfig:
    """``cache``: computed features of clips on disk, shared by epochs and runs."""

    enabled: bool = setting(
        True, help="keep features on disk; false: compute them in every process"
    )
    folder: str = setting(
        "${oc.env:DRAMAEVAL_CACHE,'~/.cache/dramaeval/clip_features'}",
        help="folder of the cache: new, empty, or created by the cache; an empty name turns it off",
    )
    max_gb: float = setting(
        20.0,
        help="limit of a user's entries in GB (10^9 bytes); the least recently used are removed first",
        above=0,
    )


@dataclass(kw_only=True)
class EvaluationConfig:
    """``evaluation``: how agreement with people is measured."""

    draws: int = setting(2000, help="bootstrap draws for the confidence intervals", minimum=1)
    level: float = setting(0.95, help="confidence level of the intervals", above=0, below=1)
    zero_shot: bool = setting(True, help="also score the judge before training")
    group_by: str = setting(
        "character",
        help="key of the records; the bootstrap resamples all records with the same value together",
    )
    metrics: list[Any] = setting(
        [],
        help="your own metrics, each a mapping with _target_, in addition to the standard metrics",
    )
    slices: list[str] = setting(
        ["language", "system", "character_seen", "length", "recorded"],
        help="subsets for which results are also given: these names, or any key of the records",
    )
    controls: list[str] = setting(
        list(CONTROLS),
        help="controls that the judge is compared with in stages=[evaluate,controls]",
        choices=CONTROLS,
    )
    phrasings: int = setting(5, help="wordings of each question in the control phrasing", minimum=2)
    prosody_clips: int = setting(
        2000,
        help="largest number of training clips for the controls prosody, encoder_probe and duration",
        minimum=10,
    )
    changed_clips: int = setting(
        200,
        help="largest number of held-out records that the controls invariance and text_bias score under every change",
        minimum=10,
    )
    keep_thoughts: bool = setting(
        False,
        help="write the judge's generated thoughts into predictions, and show them in the report",
    )
    html: bool = setting(True, help="write report.html after evaluation")
    convention: str | None = setting(
        None,
        help="published: also count as Speech-DRAME's scripts do, with all dimensions pooled and missing ratings as 1; "
        "null: only each dimension and their mean, without missing ratings",
        choices=("published",),
    )


@dataclass(kw_only=True)
class ExportConfig:
    """``export``: the result of stages=[export]."""

    merge: bool = setting(
        False,
        help="true: write a full model with the adapter merged into its weights; false: write the adapter",
    )
    push_to_hub: str | None = setting(
        None,
        help="owner/name on the Hugging Face hub: publish the exported judge with its card, rubric and figures there",
    )
    private: bool = setting(True, help="with push_to_hub: only you and your organisation see it")
    dry_run: bool = setting(
        False, help="with push_to_hub: list the files that would be published, and publish nothing"
    )


@dataclass(kw_only=True)
class LaunchConfig:
    """``launch``: how the runs of a sweep are started."""

    check: bool = setting(
        False, help="start nothing; print the jobs and commands that would be started"
    )
    detach: bool = setting(
        False,
        help="return after the jobs are submitted; stages=[report] sweep=FOLDER collects results",
    )
    trust: bool = setting(
        False,
        help="with resume=true: also run a sweep whose settings another account wrote; with from=RUN: also build the run's "
        "classes from outside dramaeval",
    )


@dataclass(kw_only=True)
class ReportConfig:
    """``report``: the comparison of stages=[report]."""

    split: str | None = setting(
        None,
        help="split that is compared, such as val or test_wild; null: the test sets that all runs have, else val",
    )
    phase: str | None = setting(
        None, help="phase that is compared; null: each run's last", choices=("zero_shot", "final")
    )


@dataclass(kw_only=True)
class LeaderboardConfig:
    """``leaderboard``: the page of stages=[leaderboard]."""

    title: str | None = setting(None, help="title of the page; null: the name of the run folder")
    prompt: str | None = setting(
        None,
        help="key of the records whose equal values mark clips of the same prompt; null: the name of the file inside the "
        "folder of its system, or the texts of the record",
    )
    examples: int = setting(
        3,
        help="number of the best and of the worst prompts that the page shows with players; 0: none",
        minimum=0,
        maximum=20,
    )


@dataclass(kw_only=True)
class Root:
    """All settings of a run."""

    stages: list[Stage] = setting(
        [Stage.train, Stage.evaluate], help="stages to run; they always run in this order"
    )
    checkpoint: str | None = setting(
        None,
        help="run folder, model or adapter to evaluate, export or continue from, or owner/name on the hub; null: the base "
        "model",
    )
    checkpoint_override: bool = setting(
        False,
        help="true: your settings of task and model replace those of the judge in checkpoint; false: settings that "
        "contradict the judge are refused",
    )
    input: Any = setting(
        None,
        help="clips for stages=[score] and [leaderboard], without or with ratings: an audio file, a folder, a glob, "
        "JSONL, CSV, Parquet, a .txt with a path a line, - (standard input), demo (a bundled clip), or a list of these",
        kind="a path or a list of paths",
    )
    texts: dict[str, Any] = setting(
        dict,
        help="texts that all clips of input share, by name: texts.scene=…; a record's own text takes precedence",
    )
    output: str | None = setting(
        None,
        help="file for a table of the scores of input, a row for each clip: .csv or .parquet; .jsonl copies "
        "predictions.jsonl",
    )
    shards: int = setting(
        1,
        help="with stages=[score]: divide input into this many runs of a sweep, and join their predictions; with "
        "hydra/launcher=slurm each is a job",
        minimum=1,
    )
    shard: int | None = setting(
        None, help="the part of input that this run scores, from 0; shards=N sets it", minimum=0
    )
    runs: list[str] = setting([], help="run folders that stages=[report] compares")
    plan: bool = setting(
        False, help="check everything, print the plan and stop; with -m for each run"
    )
    plan_force: bool = setting(False, help="run even if the plan needs more memory than there is")
    plan_device: str | None = setting(
        None,
        help="with plan=true or launch.check=true: device of another machine, which the plan is for; its model "
        "files need not be here",
        choices=("cpu", "cuda"),
    )
    plan_gpus: int | None = setting(
        None, help="with plan_device=cuda: GPUs of the run, one process each", minimum=1
    )
    plan_memory_gib: float | None = setting(
        None, help="with plan_device: memory of each GPU, or of the machine without one", above=0
    )
    debug: bool = setting(
        False,
        help="train with anomaly detection and load data in the main process; write the first batch and a "
        "profile to debug/",
    )
    sweep: str | None = setting(
        None, help="folder of an earlier sweep, for stages=[report] or resume=true"
    )
    resume: bool = setting(False, help="run the unfinished runs of the sweep in the folder sweep=…")
    launch: LaunchConfig = setting(LaunchConfig, help="how the runs of a sweep are started")
    seed: int = setting(
        0, help="seed of all random number generators", minimum=0, maximum=2**32 - 1
    )
    device: Device = setting(Device.auto, help="device of the model; auto: a GPU if there is one")
    processes: int = setting(
        1,
        help="processes to start on this machine; under torchrun, torchrun's number is used",
        minimum=1,
    )
    adapt: Any = setting(
        "llm",
        help="parts of the model that get adapters: llm, audio, projector, all, or a list of them",
        kind="a name or a list of names",
    )
    model: ModelConfig = setting(ModelConfig, help="the judge's model")
    task: TaskConfig = setting(TaskConfig, help="the questions, and the records")
    peft: Any = setting(dict, help="an adapter; null: none", kind=MAPPING, node=PeftConfig)
    quantization: Any = setting(
        dict,
        help="quantization of the language model; empty: none",
        kind=MAPPING,
        node=QuantizationConfig,
    )
    zero: Any = setting(dict, help="DeepSpeed; null: none", kind=MAPPING, node=ZeroConfig)
    trainer: TrainerConfig = setting(TrainerConfig, help="how the judge is trained")
    callbacks: dict[str, Any] = setting(
        dict,
        help="callbacks of the trainer by name, each a _target_ (a transformers.TrainerCallback) with its arguments",
    )
    logger: LoggerConfig = setting(LoggerConfig, help="training curves")
    batch: BatchConfig = setting(BatchConfig, help="how questions are put into forward passes")
    cache: CacheConfig = setting(CacheConfig, help="computed features of clips on disk")
    evaluation: EvaluationConfig = setting(
        EvaluationConfig, help="how agreement with people is measured"
    )
    importer: ImporterConfig = setting(ImporterConfig, help="the source of stages=[import]")
    report: ReportConfig = setting(ReportConfig, help="the comparison of stages=[report]")
    export: ExportConfig = setting(ExportConfig, help="the result of stages=[export]")
    leaderboard: LeaderboardConfig = setting(
        LeaderboardConfig, help="the page of stages=[leaderboard]"
    )

    serve: ServeConfig = setting(ServeConfig, help="the server of stages=[serve]")

    KEYWORDS: ClassVar = (
        Setting(
            key="from",
            type=str | None,
            default=None,
            help="run folder whose settings this run takes, except those that are given on the command line",
            limits=Limits(),
        ),
    )


def is_about_a_sweep(config: Any) -> bool:
    """Whether a command reports or resumes an existing sweep, and starts no single run."""
    collects = Stage.report in config.stages and not config.runs
    return config.sweep is not None or config.resume or collects
