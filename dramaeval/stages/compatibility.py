"""Checks that the model family, the task, the objective and the adapted parts of a run are compatible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig

from dramaeval.config.batch_size import step_size
from dramaeval.config.literal import plain
from dramaeval.config.problems import ConfigError, did_you_mean, near_matches
from dramaeval.config.schema import Stage
from dramaeval.data.records import Record
from dramaeval.models.adapter_targets import name_problems, reach_problems
from dramaeval.models.adapters import adapted_parts, attach
from dramaeval.models.families.base import Family
from dramaeval.models.forward.judge_model import REGRESSION
from dramaeval.tasks.all_dimensions import AllDimensionsTask
from dramaeval.tasks.choice import ChoiceTask
from dramaeval.tasks.pair import DIRECT, SCORE, PairTask
from dramaeval.tasks.task import Task
from dramaeval.tasks.thought import ThoughtTask
from dramaeval.training.grpo.arguments import reward_problems
from dramaeval.training.grpo.settings import trains_by_reward
from dramaeval.training.objectives import OF_PAIRS, parse
from dramaeval.training.settings import FOLLOWING_SCHEDULERS

#: Objectives that need a distribution over answers, which a regression head does not give.
_OF_DISTRIBUTIONS = {"answer_ce", "soft_ce", "choice_ce", "ordinal"}
#: Objectives that need ordered scores, while options have no order.
_OF_ORDER = {"expected_mse", "ordinal", "ranking"}
#: The families that accept clips above 30 s.
_LONG_CLIPS = (
    "Longer ones are taken by model=qwen2_audio, composed, audio_flamingo3, music_flamingo, glm_asr, gemma4_unified, "
    "granite_speech, qwen3_omni (600 s), model=qwen2_5_omni (300 s) and model=phi4_multimodal (240 s): "
    "choose one of these, or task.data.on_long=trim task.data.max_seconds=30."
)


def check_family(config: DictConfig, family: Family) -> None:
    """Check that the family supports the length of clips, the layout of batches and the adapted parts.

    Raises:
        ConfigError: lists every problem.
    """
    problems = []
    data = config.task.data
    if family.takes_audio and data.max_seconds > family.longest_clip:
        problems.append(
            f"task.data.max_seconds={data.max_seconds:g}: this model takes clips of at most {family.longest_clip:g} s. "
            f"{_LONG_CLIPS}"
        )
    if config.batch.shared_prefix and (reason := family.shared_prefix_problem()):
        problems.append(f"{reason} Set batch.shared_prefix=false: one row a question.")
    if config.peft is not None and Stage.train in config.stages:
        try:
            adapted_parts(adapt_setting(config), family)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)


def adapt_setting(config: DictConfig) -> str | list[str]:
    """The setting ``adapt`` as plain values."""
    return config.adapt if isinstance(config.adapt, str) else list(config.adapt)


def attach_checked(skeleton: Any, adapter: Any, config: DictConfig, family: Family) -> Any:
    """Attach an adapter to the model without weights, and check which layers it trains.

    Raises:
        ConfigError: lists every name that matches no layer, or trained weights in parts that ``adapt`` does not name.
        ModelError: PEFT cannot attach the adapter.
    """
    settings, adapt = plain(config.peft), adapt_setting(config)
    if problems := name_problems(settings, skeleton, family, adapt):
        raise ConfigError(problems)
    wrapped = attach(skeleton, adapter)
    if problems := reach_problems(wrapped, family, adapt, settings):
        raise ConfigError(problems)
    return wrapped


def check_task(config: DictConfig, family: Family, task: Task) -> None:
    """Check that the head, the objective and the rewards suit the task.

    Raises:
        ConfigError: lists every problem.
    """
    tasks = list(task.parts.values()) or [task]
    trains = Stage.train in config.stages
    problems = reward_problems(config, tasks) if trains and trains_by_reward(config) else []
    if family.head == REGRESSION:
        problems += _regression_problems(tasks)
    problems += _pair_problems(config, family, [t for t in tasks if isinstance(t, PairTask)])
    if trains and "objective" in config.trainer:
        problems += _objective_problems(config, family, tasks)
    if problems:
        raise ConfigError(problems)


def _regression_problems(tasks: Sequence[Task]) -> Iterator[str]:
    """Problems of tasks that need more than the single number of a regression head."""
    for task in tasks:
        if isinstance(task, ChoiceTask):
            yield f"model.head=regression has no options to choose from: leave out {task.name}."
        if isinstance(task, ThoughtTask) and task.thought_in_scoring == "generate":
            yield (
                "model.head=regression writes no thoughts: set task.thought_in_scoring=given or skip."
            )
        if isinstance(task, AllDimensionsTask) and task.earlier == "own":
            yield (
                "model.head=regression writes no scores that later ones could follow: set "
                "task.earlier=left_out and task.order=shuffled."
            )


def _pair_problems(config: DictConfig, family: Family, tasks: Sequence[PairTask]) -> Iterator[str]:
    """Problems of tasks of pairs with a model, a stage or a trainer that does not support pairs."""
    for task in tasks:
        if not family.takes_audio:
            yield (
                f"task={task.name} compares two clips of one context, and this model takes no audio: both would have "
                "the same prompt. Choose a model that takes audio."
            )
        if task.by == DIRECT and family.head == REGRESSION:
            yield (
                f"task={task.name} with task.by=direct asks for A, B or tie, and model.head=regression gives a number "
                "and no distribution: set task.by=score."
            )
        if Stage.prepare in config.stages:
            yield f"stages=[prepare] writes lines with one clip, and task={task.name} has two: leave it out."
        mixed = bool(config.task.get("tasks"))
        if mixed and task.by == SCORE and Stage.train in config.stages and trains_by_reward(config):
            yield (
                f"trainer=grpo asks two questions about a pair of {task.name}, and one about each record of the other "
                "tasks; a pass needs the same number for every record: train task=pair by itself, leave it out, or "
                "use trainer=sft."
            )


def _preference_problems(objective: str, names: set[str], tasks: Sequence[Task]) -> Iterator[str]:
    """Problems of pairs without an objective for pairs, and of such an objective without pairs."""
    scored = [task for task in tasks if isinstance(task, PairTask) and task.by == SCORE]
    if scored and not names & OF_PAIRS:
        yield (
            f"trainer.objective={objective}: the clips of {scored[0].name} are scored separately and have no "
            "targets: add bradley_terry."
        )
    if names & OF_PAIRS and not scored:
        yield (
            f"trainer.objective={objective}: bradley_terry compares two clips that are scored separately, and "
            "no task has such pairs: leave it out, or use task=pair with task.by=score."
        )
    if names <= OF_PAIRS and len(scored) < len(tasks):
        others = ", ".join(task.name for task in tasks if task not in scored)
        yield (
            f"trainer.objective={objective} trains pairs only, and {others} would not be trained: add an objective "
            "with targets, such as expected_mse+bradley_terry."
        )


def _objective_problems(config: DictConfig, family: Family, tasks: Sequence[Task]) -> Iterator[str]:
    objective = config.trainer.objective
    names = {name for name, _ in parse(objective, config.trainer.objectives)}
    yield from _preference_problems(objective, names, tasks)
    if family.head == REGRESSION and (needing := sorted(names & _OF_DISTRIBUTIONS)):
        yield (
            f"trainer.objective={objective}: a regression head gives a number and no distribution, which "
            f"{', '.join(needing)} would need: set it to expected_mse or ranking."
        )
    if "ranking" in names and _clips_per_pass(config) < 2:
        yield (
            f"trainer.objective={objective}: ranking orders the clips of a pass, and a pass has one: set "
            "batch.per_device=2 or more, or leave ranking out."
        )
    ordered = sorted(names & _OF_ORDER)
    if ordered and any(isinstance(task, ChoiceTask) for task in tasks):
        yield (
            f"trainer.objective={objective}: options have no order, which {', '.join(ordered)} would need: "
            "set it to answer_ce, soft_ce, choice_ce or a sum."
        )


def _clips_per_pass(config: DictConfig) -> float:
    """The number of clips per training pass; infinite if it depends on the lengths of the records."""
    if config.batch.get("max_tokens"):
        return float("inf")
    return step_size(config, config.processes).per_device


def check_best_figure(args: Any, task: Task, family: Family, val: Sequence[Record]) -> None:
    """Check that validation measures the figure by which the best checkpoint is chosen.

    Args:
        args: the trainer's arguments.
        val: the validation records.

    Raises:
        ConfigError: no validation would have the figure, so that no step could be the best.
    """
    best = str(args.metric_for_best_model).removeprefix("eval_")
    uses = args.load_best_model_at_end or args.lr_scheduler_type in FOLLOWING_SCHEDULERS
    parts = {record.part for record in val}
    tasks = [of for name, of in task.parts.items() if name in parts] or [task]
    measured = _validated(tasks, family)
    rated = {
        dimension.key: dimension.scale
        for dimension in task.rated_dimensions
        if not task.parts or dimension.key.partition("/")[0] in parts
    }
    further = {f"pearson/{key}" for key in rated}
    further |= {f"score_{score:g}/accuracy" for scale in rated.values() for score in scale}
    if not uses or best in measured or best in further:
        return
    hint = did_you_mean(near_matches(best, further, 0.7))
    raise ConfigError(
        f"trainer.args.metric_for_best_model={best} (task.best_by): validation of task={task.name} has no such figure, so "
        f"that no step would be the best: choose one of {', '.join(measured)}"
        f"{', or pearson/KEY of a dimension' if rated else ''}.{hint}"
    )


def _validated(tasks: Sequence[Task], family: Family) -> list[str]:
    """The figures of `dramaeval.training.validation_metrics` over all dimensions and scores that tasks have."""
    pairs = any(isinstance(task, PairTask) for task in tasks)
    others = [task for task in tasks if not isinstance(task, PairTask)]
    rated = any(task.rated_dimensions for task in others)
    choices = any(len(task.rated_dimensions) < len(task.dimensions) for task in others)
    figures = {
        "pearson": rated,
        "cross_entropy": choices or (rated and family.head != REGRESSION),
        "mse": rated,
        "accuracy": rated or choices,
        "choice_accuracy": choices,
        "pair_accuracy": pairs,
        "pair_cross_entropy": pairs,
    }
    return [name for name, is_measured in figures.items() if is_measured]
