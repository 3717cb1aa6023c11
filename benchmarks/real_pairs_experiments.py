"""The experiments of `benchmarks.real_pairs`: their corpora, ways of training and commands."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from dramaeval.config.schema import PACKAGE

FIRST = "pairs, scored"
"""The way that the others are compared with."""

COMMON = ("evaluation.html=false", "logger=none", "cache.folder={runs}/cache")
#: The sum of objectives by which each question of a mixture has the losses that fit it.
BOTH = "trainer.objective=expected_mse+bradley_terry"


@dataclass(frozen=True)
class Corpus:
    """Clips with ratings, and the settings of judges on them.

    Attributes:
        name: in the names of experiments.
        folder: of the JSONL files, in `{real}` or in the package.
        ratings: the task of the ratings.
        model: settings of the judge and its training.
        of_task: settings of each task; a mixture has them for each part.
        of_pairs: settings of the tasks of pairs alone.
        rubric: of the questions; None for that of the task.
    """

    name: str
    folder: str
    ratings: str
    model: tuple[str, ...]
    of_task: tuple[tuple[str, str], ...] = ()
    of_pairs: tuple[tuple[str, str], ...] = ()
    rubric: str | None = None


CORPORA = (
    Corpus(
        "archetype", str(PACKAGE / "data" / "sample" / "archetype"), "archetype",
        ("peft=lora", "trainer.args.num_train_epochs=3"),
    ),
    Corpus(
        "speechocean762", "{real}/speechocean762", "speech",
        (
            "model=qwen2_audio", "model.path={judges}/judge-whisper-base-tiny", "peft=none",
            "model.freeze_audio=true", "batch.per_device=8", "trainer.args.learning_rate=2e-3",
            "trainer.args.num_train_epochs=1",
        ),
        of_task=(
            ("system", "'You judge recordings of speech.'"), ("context", "''"), ("optional_context", "[]"),
            ("dimensions", "null"),
        ),
        of_pairs=(
            ("derive.prompt", "char_age"), ("derive.apart", "character"), ("derive.margin", "1"),
            ("derive.per_prompt", "60"),
        ),
        rubric="so762",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """One way of training, and the task by which its judge compares the pairs of ``test``."""

    corpus: Corpus
    way: str
    trained: str
    compared: str = "pair"

    @property
    def name(self) -> str:
        """Of its rows."""
        return f"{self.corpus.name}: {self.way}"


def experiments() -> list[Experiment]:
    """All experiments."""
    return [
        experiment
        for corpus in CORPORA
        for experiment in (
            Experiment(corpus, FIRST, "pair"),
            Experiment(corpus, "pairs, direct", "pair_direct", "pair_direct"),
            Experiment(corpus, "ratings", corpus.ratings),
            Experiment(corpus, "pairs and ratings", "mixed"),
        )
    ]


def _task(corpus: Corpus, task: str, where: str = "task") -> list[str]:
    """The settings of a task; ``where`` is its place in a mixture."""
    pairs = corpus.of_pairs if task.startswith("pair") else ()
    return [f"{where}.{key}={value}" for key, value in (*corpus.of_task, *pairs)]


def _training_task(experiment: Experiment, folder: Path) -> list[str]:
    corpus = experiment.corpus
    if experiment.trained != "mixed":
        rubric = [f"task/rubric={corpus.rubric}"] if corpus.rubric else []
        files = [f"task.data.{split}={folder / split}.jsonl" for split in ("train", "val")]
        return [f"task={experiment.trained}", *rubric, *_task(corpus, experiment.trained), *files]
    words = ["task=mixed", BOTH, "task.best_by=pair_accuracy"]
    others = {"role", "archetype", "avqa"} - {
        corpus.ratings
    }  # in place of the parts that task=mixed has by default
    for part in sorted(others):
        words += [f"~task.tasks.{part}", f"~task.weights.{part}"]
    for part in ("pair", corpus.ratings):
        where = f"task.tasks.{part}"
        if part != "archetype":
            words += [f"+task@{where}={part}", f"+task.weights.{part}=1"]
        words += [f"task/rubric@{where}.rubric={corpus.rubric}"] if corpus.rubric else []
        words += _task(corpus, part, where)
        words += [f"{where}.data.{split}={folder / split}.jsonl" for split in ("train", "val")]
    return words


def commands(experiment: Experiment, seed: int, given: argparse.Namespace) -> list[list[str]]:
    """The arguments of `python` for the training and for the comparison."""
    corpus, runs = experiment.corpus, given.folder
    places = {"real": given.real, "judges": given.judges, "runs": runs}
    source = Path(corpus.folder.format(**places))
    folder = runs / corpus.name if given.records else source
    trained, compared = run_folders(experiment, seed, runs)
    common = [f"--config-dir={runs / 'configs'}"]
    settings = [word.format(**places) for word in (*COMMON, *corpus.model)]
    parts = ("pair", corpus.ratings) if experiment.trained == "mixed" else ()
    wheres = [f"task.tasks.{part}" for part in parts] or ["task"]
    root = [f"{where}.data.audio_root={source}" for where in wheres]
    steps = [f"trainer.args.max_steps={given.steps}"] if given.steps else []
    rubric = [f"task/rubric={corpus.rubric}"] if corpus.rubric else []
    return [
        [
            "launch.py", *common, "stages=[train]", *_training_task(experiment, folder), *root, *settings, *steps,
            f"seed={seed}", f"hydra.run.dir={trained}",
        ],
        [
            "launch.py", *common, "stages=[evaluate]", f"checkpoint={trained}", "checkpoint_override=true",
            f"task={experiment.compared}", *rubric, *_task(corpus, experiment.compared),
            f"task.data.test={folder / 'test'}.jsonl", f"task.data.audio_root={source}",
            *(word.format(**places) for word in COMMON), f"hydra.run.dir={compared}",
        ],
    ]  # fmt: skip


def run_folders(experiment: Experiment, seed: int, runs: Path) -> tuple[Path, Path]:
    """The folders of the training and of the comparison."""
    name = experiment.name.replace(": ", "-").replace(", ", "-").replace(" ", "-")
    return runs / f"{name}.{seed}", runs / f"{name}.{seed}.test"
