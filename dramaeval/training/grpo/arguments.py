"""GRPO in a run: its batches in TRL's numbers, and what it needs of task and records before weights load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig

from dramaeval.config.batch_size import PER_DEVICE, StepSize
from dramaeval.config.problems import ConfigError
from dramaeval.data.problems import BadRecordsError, Problem
from dramaeval.data.records import Record
from dramaeval.models.inputs.question_encoder import EncodedQuestion
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.tasks.choice import ChoiceTask
from dramaeval.tasks.task import Task
from dramaeval.tasks.thought import ThoughtTask
from dramaeval.training.grpo.groups import too_long
from dramaeval.training.grpo.settings import ENUMERATED, generations, trains_by_reward
from dramaeval.training.question_sampler import trainable_dimensions

_FRAMES_A_SECOND = 100


def in_completions(config: DictConfig, step: StepSize) -> StepSize:
    """A step as TRL and DeepSpeed count it: with GRPO in completions, otherwise in clips as it is."""
    if not trains_by_reward(config):
        return step
    return StepSize(step.per_device * generations(config), step.accumulation, step.processes)


def completion_arguments(config: DictConfig, step: StepSize) -> dict[str, Any]:
    """TRL's arguments that follow from a step's size in clips."""
    count = generations(config)
    return {
        PER_DEVICE: step.per_device * count,
        "per_device_eval_batch_size": count,  # validation is the project's own; TRL checks that it divides
        "num_generations": count,
        "reward_weights": None,
    }


def reward_problems(config: DictConfig, tasks: Sequence[Task]) -> list[str]:
    """Rewards and estimators that do not fit what is asked."""
    problems = []
    used = [
        name
        for name, node in config.trainer.rewards.items()
        if node.get("weight", 1.0) != 0
        and getattr(get_object(node["_target_"]), "needs_order", False)
    ]
    for one in tasks:
        if isinstance(one, ChoiceTask) and used:
            problems.append(
                f"trainer.rewards: options have no order, which {', '.join(used)} would need, and "
                f"{one.name} asks for "
                f"options: set trainer.rewards.{used[0]}.weight=0 trainer.rewards.exact.weight=1."
            )
        if config.trainer.estimator != ENUMERATED:
            continue
        if isinstance(one, ThoughtTask):
            problems.append(
                f"trainer.estimator=enumerated: the answers of {one.name} begin with a thought, and "
                "thoughts cannot "
                "be enumerated. Set trainer.estimator=sampled."
            )
        elif not one.one_at_a_time and not isinstance(one, ChoiceTask) and one.name != "processed":
            problems.append(
                f"trainer.estimator=enumerated: {one.name} asks for all dimensions in one answer, which has "
                "too many values to enumerate. Set trainer.estimator=sampled, or ask for one at a time "
                "(task=role)."
            )
    return problems


def check_completions(
    args: Any, record_encoder: RecordEncoder, records: Sequence[Record], positions: int
) -> None:
    """Whether answers fit into a completion, prompts into the model, and a generation into the training split.

    Args:
        args: the trainer's.
        record_encoder: tokenise.
        records: that are trained on.
        positions: that the model knows.

    Raises:
        ConfigError: completions are too short for an answer, or there are too few records for a step.
        BadRecordsError: prompts are too long.
    """
    generated = args.generation_batch_size // args.num_generations
    if len(records) < generated:
        raise ConfigError(
            [
                f"A generation takes {generated} clips, and there are {len(records)} to train on: lower "
                "batch.global, batch.per_device or trainer.args.steps_per_generation."
            ]
        )
    most = args.max_completion_length
    problems: list[Problem] = []
    needed = 0
    shapes: set[Any] = set()
    for record in records:
        for question in record_encoder.questions(
            record, trainable_dimensions(record_encoder.task, record)
        ):
            shape = tuple((one.lead, one.choices, one.tail) for one in question.places)
            if shape not in shapes:
                shapes.add(shape)
                needed = max(needed, _longest(record_encoder.encoder.encode_question(question)))
            heard = (
                (record, *record_encoder.task.examples(record))
                if record_encoder.family.takes_audio
                else ()
            )
            audio = sum(record_encoder.family.audio_tokens(_frames(one)) for one in heard)
            # A token is at least a byte, so that few prompts have to be tokenised.
            if audio + _bytes(question.messages) + 64 + most <= positions:
                continue
            length = audio + len(record_encoder.encoder.prompt(question.messages)) - len(heard)
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


def _longest(places: Sequence[EncodedQuestion]) -> int:
    """Tokens of the longest answer."""
    return sum(
        len(one.answer.lead) + max(map(len, one.answer.choice_tokens)) + len(one.answer.tail)
        for one in places
    )


def _frames(record: Record) -> int:
    return max(1, round(record.seconds * _FRAMES_A_SECOND))


def _bytes(messages: Sequence[Mapping[str, Any]]) -> int:
    total = 0
    for message in messages:
        content = message["content"]
        parts = [{"text": content}] if isinstance(content, str) else content
        total += sum(len(part["text"].encode()) + 16 for part in parts if "text" in part) + 32
    return total
