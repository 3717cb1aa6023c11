"""The cost of the thoughts that a judge generates when it scores records."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dramaeval.data.durations import duration
from dramaeval.data.records import Record
from dramaeval.models.forward.generation import ROWS
from dramaeval.models.planning.generation_time import GenerationTime
from dramaeval.tasks.question import Question
from dramaeval.tasks.task import Task
from dramaeval.tasks.thought import ThoughtTask


@dataclass(frozen=True, kw_only=True)
class ThoughtCost:
    """The largest cost of the thoughts each time that the records are scored.

    Attributes:
        questions: the number of questions with thoughts.
        thoughts: the number of thoughts.
        longest: the largest number of tokens of a thought.
        tokens: the largest number of tokens of all thoughts.
        passes: the largest number of forward passes; a pass extends up to `ROWS` thoughts by one token.
        prompts: the number of prompts that are computed; one of them starts up to `ROWS` thoughts.
        seconds: the largest time that one process needs; None if it is not measured.
    """

    questions: int = 0
    thoughts: int = 0
    longest: int = 0
    tokens: int = 0
    passes: int = 0
    prompts: int = 0
    seconds: float | None = None

    @property
    def thoughts_a_pass(self) -> int:
        """The mean number of thoughts that a pass extends, rounded up."""
        return math.ceil(self.tokens / self.passes) if self.passes else 0

    def timed(self, measured: GenerationTime) -> ThoughtCost:
        """A copy with ``seconds``, the time of all prompts and all passes."""
        seconds = self.prompts * measured.prompt + self.passes * measured.step
        return replace(self, seconds=seconds)

    def text(self) -> str:
        """The cost as text."""
        text = (
            f"{self.thoughts:,} of at most {self.longest:,} tokens about {self.questions:,} questions each time these are "
            f"scored: at most {self.tokens:,} tokens, in {self.passes:,} passes of up to {ROWS} thoughts"
        )
        if self.seconds is None:
            return text
        return f"{text}; at most about {duration(math.ceil(self.seconds))} with one process on this machine"


def thought_cost(
    splits: Mapping[str, Sequence[Record]], task: Task, clips_a_batch: int
) -> ThoughtCost | None:
    """The cost of scoring all splits except ``train`` once; None if the judge generates no thoughts.

    Args:
        clips_a_batch: the number of records that are scored together.
    """
    if not generates_thoughts(task):
        return None
    longest, totals = 0, Counter[str]()
    for name, records in splits.items():
        if name == "train":
            continue
        # As in scoring, records of similar length are in one batch.
        ordered = sorted(records, key=lambda record: record.total_seconds, reverse=True)
        for start in range(0, len(ordered), clips_a_batch):
            asked: Counter[int] = Counter()
            limit = 0
            for record in ordered[start : start + clips_a_batch]:
                questions = task.questions(record, task.dimensions_for(record))
                samples = [thoughts_about(q) for q in questions if q.generates_thought]
                asked.update(samples)
                most = task.max_written_tokens(record) if samples else 0
                totals["tokens"] += sum(samples) * most
                limit = max(limit, most)
            totals["questions"] += asked.total()
            for count, times in asked.items():
                totals["thoughts"] += count * times
                totals["prompts"] += math.ceil(count / ROWS) * times
                totals["passes"] += limit * _groups(count, times)
            longest = max(longest, limit)
    return ThoughtCost(longest=longest, **totals)


def generates_thoughts(task: Task) -> bool:
    """Whether the judge generates thoughts when it scores the task, or a task of a mixture."""
    tasks = task.parts.values() or [task]
    return any(isinstance(part, ThoughtTask) and part.generates for part in tasks)


def thoughts_about(question: Question) -> int:
    """The number of a question's sequences: one for each sampled thought, else 1."""
    return question.thought_sampling.samples if question.thought_sampling else 1


def _groups(samples: int, questions: int) -> int:
    """The number of groups of up to `ROWS` thoughts, which `generate` completes one after the other."""
    groups = 0
    for begin in range(0, samples, ROWS):
        copies = min(ROWS, samples - begin)
        groups += math.ceil(questions / max(1, ROWS // copies))
    return groups
