"""The plan of a run whose judge is a model behind an endpoint: the requests, and the audio in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dramaeval.data.problems import counted
from dramaeval.data.records import Record
from dramaeval.models.api_model import ApiModel
from dramaeval.models.planning.machine import Capacity
from dramaeval.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """The requests about a split.

    Attributes:
        records, questions: the numbers of records and questions.
        seconds: the seconds of audio in the prompts of all questions; each question about a clip counts the clip.
    """

    records: int
    questions: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ApiPlan:
    """The plan of a run, with the same methods as `dramaeval.stages.plan.Plan`.

    Attributes:
        model: the model behind the endpoint.
        splits: the requests by split.
    """

    model: ApiModel
    splits: Mapping[str, SplitPlan]

    def lines(self) -> list[str]:
        """The plan as lines for the terminal."""
        width = max([10, *map(len, self.splits)])
        lines = ["Plan"]
        for name, split in self.splits.items():
            lines.append(
                f"  {name:<{width}} {counted(split.records, 'record')}, {counted(split.questions, 'question')}, "
                f"{split.seconds:,.0f} seconds of audio in their prompts"
            )
        total = sum(split.questions for split in self.splits.values())
        seconds = sum(split.seconds for split in self.splits.values())
        lines.append(f"  {'model':<{width}} {self.model.path}")
        lines.append(
            f"  {'calls':<{width}} {total:,} ({self._per_question}), {seconds:,.0f} seconds of audio"
        )
        if self.model.cache:
            lines.append(
                f"  {'cache':<{width}} {self.model.cache}: calls with a kept reply are not made again"
            )
        return lines

    @property
    def _per_question(self) -> str:
        sampled = f"one a question, {self.model.samples} answers each"
        texts = {"samples": sampled, "logprobs": "one a question"}
        return texts.get(self.model.answers, f"one a question; without logprobs {sampled}")

    def problems(self) -> list[str]:
        """Return no problems, since there is no training."""
        return []

    def shortages(self, capacity: Capacity | None) -> list[str]:
        """Return no problems, since the model is on another machine."""
        return []


def plan_of(model: ApiModel, splits: Mapping[str, Sequence[Record]], task: Task) -> ApiPlan:
    """The plan for scoring the records of splits."""
    return ApiPlan(
        model=model, splits={name: _split(records, task) for name, records in splits.items()}
    )


def _split(records: Sequence[Record], task: Task) -> SplitPlan:
    questions, seconds = 0, 0.0
    for record in records:
        asked = task.questions(record, task.dimensions_for(record))
        questions += len(asked)
        lengths = record.prompt_clips
        seconds += len(asked) * sum(example.seconds for example in task.examples(record))
        seconds += sum(lengths[clip] for q in asked for clip in q.clips or (record.clip,))
    return SplitPlan(records=len(records), questions=questions, seconds=seconds)
