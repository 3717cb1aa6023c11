"""GRPO in a run: batch sizes as TRL counts them, and rules for tasks and records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig

from dramaeval.config.batch_size import PER_DEVICE, StepSize
from dramaeval.config.keys import is_a
from dramaeval.config.problems import ConfigError
from dramaeval.data.problems import BadRecordsError, Problem
from dramaeval.data.records import Record
from dramaeval.models.inputs.question_length import longest_answer, prompt_tokens
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.tasks.choice import ChoiceTask
from dramaeval.tasks.pair import SCORE, PairTask
from dramaeval.tasks.task import Task
from dramaeval.tasks.thought import ThoughtTask
from dramaeval.training.grpo.prompt_groups import too_long
from dramaeval.training.grpo.settings import ENUMERATED, generations, trains_by_reward
from dramaeval.training.question_sampler import trainable_dimensions

#: TRL's argument that removes completions from the loss if they reach the limit of their length.
MASK = "mask_truncated_completions"


def in_completions(config: DictConfig, step: StepSize) -> StepSize:
    """The size of a step as TRL and DeepSpeed count it: in completions for GRPO, otherwise in clips."""
    if not trains_by_reward(config):
        return step
    count = generations(config) * _prompts_per_record(config)
    return StepSize(step.per_device * count, step.accumulation, step.processes)


def completion_arguments(config: DictConfig, step: StepSize) -> dict[str, Any]:
    """TRL's arguments for a step whose size is counted in clips."""
    count = generations(config)
    return {
        PER_DEVICE: step.per_device * count * _prompts_per_record(config),
        "per_device_eval_batch_size": count,  # unused; TRL requires a multiple of num_generations
        "num_generations": count,
        "reward_weights": None,
        MASK: _masks_truncated(config),
    }


def _prompts_per_record(config: DictConfig) -> int:
    """`Task.prompts_per_record` of the configured task."""
    return 2 if is_a(config.task, "PairTask") and config.task.by == SCORE else 1


def _masks_truncated(config: DictConfig) -> bool:
    """The value of `MASK`; if it is not set, true for tasks whose answers begin with a thought."""
    setting = config.trainer.args.get(MASK)
    if setting is not None:
        return bool(setting)
    tasks = (config.task.get("tasks") or {}).values() or [config.task]
    return any(is_a(task, "ThoughtTask") for task in tasks)


def reward_problems(config: DictConfig, tasks: Sequence[Task]) -> list[str]:
    """Problems of the rewards and the estimator with the tasks of a run."""
    problems = []
    ordered, rated = _rewards_with(config, "needs_order"), _rewards_with(config, "needs_ratings")
    compared = _rewards_with(config, "needs_pairs")
    for task in tasks:
        has_pairs = isinstance(task, PairTask) and task.by == SCORE
        if has_pairs and rated:
            zeros = " ".join(f"trainer.rewards.{name}.weight=0" for name in rated)
            problems.append(
                f"trainer.rewards: the clips of {task.name} have votes and no ratings, which {', '.join(rated)} "
                f"needs: set {zeros} trainer.rewards.pair_accuracy.weight=1."
            )
        if compared and not has_pairs:
            problems.append(
                f"trainer.rewards.{compared[0]} compares the scores of the two clips of a pair, and {task.name} has "
                f"no such pairs: set trainer.rewards.{compared[0]}.weight=0, or task=pair."
            )
        if isinstance(task, ChoiceTask) and ordered:
            problems.append(
                f"trainer.rewards: {task.name} asks for options, and options have no order, which "
                f"{', '.join(ordered)} needs: set trainer.rewards.{ordered[0]}.weight=0 "
                "trainer.rewards.exact.weight=1."
            )
        if config.trainer.estimator != ENUMERATED:
            continue
        if isinstance(task, ThoughtTask):
            problems.append(
                f"trainer.estimator=enumerated: the answers of {task.name} begin with a thought, and "
                "thoughts cannot be enumerated. Set trainer.estimator=sampled."
            )
        elif (
            not task.one_dimension_per_question
            and not isinstance(task, ChoiceTask)
            and task.name != "processed"
        ):
            problems.append(
                f"trainer.estimator=enumerated: {task.name} asks for all dimensions in one answer, which has "
                "too many values to enumerate. Set trainer.estimator=sampled, or ask for one at a time "
                "(task=role)."
            )
    return problems


def _rewards_with(config: DictConfig, attribute: str) -> list[str]:
    """The names of the rewards with a weight whose function has an attribute."""
    return [
        name
        for name, node in config.trainer.rewards.items()
        if node.get("weight", 1.0) != 0 and getattr(get_object(node["_target_"]), attribute, False)
    ]


def check_completions(
    args: Any, record_encoder: RecordEncoder, records: Sequence[Record], positions: int
) -> None:
    """Check that answers fit into a completion and prompts into the model, and that the records fill a generation.

    Args:
        args: the arguments of the trainer.
        record_encoder: tokenises the questions.
        records: the training records.
        positions: number of positions of the model.

    Raises:
        ConfigError: completions are too short for an answer, or there are too few records for a generation.
        BadRecordsError: prompts are too long.
    """
    prompts = args.generation_batch_size // args.num_generations
    generated = prompts // record_encoder.task.prompts_per_record
    if len(records) < generated:
        kind = "pairs" if record_encoder.task.prompts_per_record > 1 else "clips"
        raise ConfigError(
            [
                f"A generation takes {generated} {kind}, and there are {len(records)} to train on: lower "
                "batch.global, batch.per_device or trainer.args.steps_per_generation."
            ]
        )
    most = args.max_completion_length
    problems: list[Problem] = []
    needed = 0
    forms: set[Any] = set()
    for record in records:
        for question in record_encoder.questions(
            record, trainable_dimensions(record_encoder.task, record)
        ):
            form = tuple(
                (field.lead, field.choices, field.tail) for field in question.answer_fields
            )
            if form not in forms:
                forms.add(form)
                needed = max(needed, longest_answer(record_encoder.encoder.encode_answer(question)))
            length = prompt_tokens(record_encoder, record, question, positions - most)
            if length + most > positions:
                problems.append(too_long(record, length, most, positions))
                break
    if problems:
        raise BadRecordsError(problems)
    if needed > most:
        raise ConfigError(
            [
                f"trainer.args.max_completion_length={most} is shorter than an answer, which takes {needed} "
                f"tokens: set trainer.args.max_completion_length={2 * needed}."
            ]
        )
