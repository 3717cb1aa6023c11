"""A task: a rubric, the context that goes with a clip, and how ratings become targets.

Prompts are rendered here and nowhere else, for training, evaluation and the API alike. A task that needs no
more than its rubric and a context template is a YAML file; one that needs more is a subclass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter
from typing import Any, Self

import numpy as np

from dramaeval.data.records import AnnotationField, ReadResult, Record, RecordFormat, read_records
from dramaeval.tasks.few_shot import TO_JUDGE, FewShotExamples, shown_first, shown_scores
from dramaeval.tasks.labels import LabelPolicy, confidence_weights, learnt_weights, takes_weights
from dramaeval.tasks.question import AnswerField, Question
from dramaeval.tasks.rubric import Dimension, Rubric, read_rubric
from dramaeval.tasks.wordings import PhrasingsError, wordings

LAYOUTS = ("context_first", "criteria_first")


@dataclass(frozen=True)
class Target:
    """What is to be answered: a distribution over the choices, and which of them is written.

    ``written`` is None where that is the likeliest.
    """

    distribution: np.ndarray
    written: int | None = None


class Task:
    """What is asked of a judge about each record.

    Args:
        name: the task's name in results.
        rubric: the mapping of a rubric's YAML file, or a rubric.
        system: the system prompt.
        context: what is said about the clip, a template over the record's text fields, e.g. ``{local_scene}``.
        labels: the label policy, already instantiated.
        prompt_layout: ``context_first`` puts what a record's questions share at the front, so that it is
            computed once; ``criteria_first`` is the published order.
        dimensions: keys to ask for, in the rubric's order; None asks for all.
        shots: training examples shown before each question (see `dramaeval.tasks.few_shot`); they are brought by
            `show_examples` once the training records are read.
        confidence: annotation field in which raters say how sure they are, on a scale from 1 to 5; it weights
            their ratings. None counts all raters alike.
        phrasings: what other wordings of the questions are made of, see `dramaeval.tasks.wordings`; None has
            no other wordings.
    """

    #: Whether each question asks for one dimension, so that examples with their scores can be shown.
    one_at_a_time = True

    def __init__(
        self,
        *,
        name: str,
        rubric: Mapping[str, Any] | Rubric,
        system: str,
        context: str,
        labels: LabelPolicy,
        prompt_layout: str = "context_first",
        dimensions: Sequence[str] | None = None,
        shots: int = 0,
        confidence: str | None = None,
        phrasings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.rubric: Rubric = rubric if isinstance(rubric, Rubric) else read_rubric(rubric)
        self.system = system
        self.context = context
        self.labels = labels
        self.confidence = confidence
        if confidence and not takes_weights(labels):
            raise ValueError(
                f"task.confidence={confidence} weights the raters, but the label policy takes no weights: give "
                "it an argument `weights`, or set task.confidence=null."
            )
        if prompt_layout not in LAYOUTS:
            raise ValueError(
                f"task.prompt_layout={prompt_layout} is not known; choose one of {', '.join(LAYOUTS)}."
            )
        self.prompt_layout = prompt_layout
        if shots < 0:
            raise ValueError(f"task.shots={shots} must be 0 or more.")
        if shots and not self.one_at_a_time:
            raise ValueError(
                f"task.shots={shots}: {name} does not ask for one dimension at a time, so that examples have "
                "no place in its questions. Set task.shots=0, or use task=role, archetype or role_variation."
            )
        self.phrasings = phrasings
        self._criteria: Mapping[str, str] = {}  # by dimension, where they are not the rubric's own
        self.shots = shots
        self._examples: FewShotExamples | None = None
        wanted = [one.key for one in self.rubric.dimensions] if dimensions is None else dimensions
        self.dimensions: tuple[Dimension, ...] = tuple(self.rubric[key] for key in wanted)
        self.text_fields = tuple(
            dict.fromkeys(name for _, name, _, _ in Formatter().parse(context) if name)
        )

    def record_format(self, *, annotated: bool = True) -> RecordFormat:
        """What a record must hold for this task."""
        fields = [
            AnnotationField(name=one.annotation, low=one.scale[0], high=one.scale[-1])
            for one in self.dimensions
        ]
        if self.confidence and self.confidence not in {one.name for one in fields}:
            fields.append(AnnotationField(name=self.confidence, low=1, high=5, required=False))
        return RecordFormat(
            text_fields=self.text_fields, annotation_fields=tuple(fields), annotated=annotated
        )

    def read(
        self, file: str | Path, *, heard: bool = True, annotated: bool = True, **options: Any
    ) -> ReadResult:
        """Read and check a file of this task's records; see `dramaeval.data.records.read_records`."""
        fmt = replace(self.record_format(annotated=annotated), heard=heard)
        return read_records(file, fmt, **options)

    def learn(self, records: Sequence[Record]) -> None:
        """Let the label policy see the training records, where it learns from them."""
        columns = {
            one.annotation: [self.ratings(record, one) for record in records]
            for one in self.dimensions
        }
        learnt_weights(self.labels, columns)

    def remarks(self, records: Sequence[Record]) -> dict[str, int]:
        """What is out of the ordinary about records without being wrong, in words, and how many have it."""
        return {}

    def scoring(self) -> dict[str, Any]:
        """How scores are read, where the task has several ways; recorded in results."""
        return {}

    @property
    def parts(self) -> Mapping[str, Task]:
        """The tasks that this one is made of, by name; none where it is a single one."""
        return {}

    @property
    def rated(self) -> tuple[Dimension, ...]:
        """The dimensions that have a scale, unlike options to choose from."""
        return self.dimensions

    def mixture(self, records: Sequence[Record]) -> list[tuple[list[int], float]] | None:
        """Groups of training records with their shares of an epoch; None takes every record once.

        Each is the numbers of its records, and its weight relative to the others'.
        """
        return None

    def writes(self, record: Record) -> int:
        """The most tokens that a judge may write of its own in scoring a record; 0: it writes nothing."""
        return 0

    def category(self, record: Record) -> str | None:
        """What kind of question a record asks, where results are told apart by it."""
        return None

    def asked(self, record: Record) -> tuple[Dimension, ...]:
        """The dimensions that a judge is asked for about this record."""
        return self.dimensions

    def without_ratings(self) -> Self:
        """This task for clips of which only the judge is asked: nothing it asks depends on raters."""
        return self

    def questions(
        self,
        record: Record,
        dimensions: Sequence[Dimension],
        rng: np.random.Generator | None = None,
    ) -> list[Question]:
        """The questions that ask for these dimensions.

        Args:
            record: about what.
            dimensions: what is asked for, each at a place of its own.
            rng: draws what differs from time to time in training; None asks as in evaluation, always alike.
        """
        return [
            Question(
                messages=self.messages(record, one),
                places=(AnswerField.of_score(one),),
                key=(one.key,),
            )
            for one in dimensions
        ]

    def messages(self, record: Record, dimension: Dimension) -> list[dict[str, Any]]:
        """One question as chat messages, up to where the answer begins."""
        return self.chat(record, self.criterion(dimension), dimension)

    def criterion(self, dimension: Dimension) -> str:
        """What is asked about a dimension: in the rubric's words, or in those of `phrased`."""
        return self._criteria.get(dimension.key) or self.rubric.criterion(dimension)

    def phrased(self, count: int, seed: int) -> list[Self]:
        """This task in so many wordings, the first its own; every dimension is asked in other words in each.

        Raises:
            PhrasingsError: there are no parts to make them of, or none that go with the rubric.
        """
        if self.phrasings is None:
            raise PhrasingsError("this task asks every question in one wording")
        worded = wordings(self.rubric, self.dimensions, self.phrasings, count=count, seed=seed)
        return [
            self._asking({key: texts[number] for key, texts in worded.items()})
            for number in range(count)
        ]

    def _asking(self, criteria: Mapping[str, str]) -> Self:
        other = copy(self)
        other._criteria = criteria
        return other

    def chat(
        self, record: Record, criterion: str, dimension: Dimension | None = None
    ) -> list[dict[str, Any]]:
        """The clip, its context and what is asked as chat messages; after the examples, if there are any.

        ``dimension`` is what is asked for, where it is one: it says which scores the examples have.
        """
        examples = self.examples(record) if dimension else ()
        parts = [self.told(record), criterion]
        if self.prompt_layout == "criteria_first":
            parts.reverse()
        content = [*shown_first(self, examples), {"type": "audio", "audio_url": str(record.clip)}]
        if examples and dimension:
            parts = [TO_JUDGE, *parts, shown_scores(self, examples, dimension)]
        content.append({"type": "text", "text": "\n".join(parts)})
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": content},
        ]

    def told(self, record: Record) -> str:
        """What is said about a record's clip."""
        return self.context.format(**{name: record.fields[name] for name in self.text_fields})

    def show_examples(self, pool: Sequence[Record], seed: int) -> None:
        """Take the examples of ``shots`` from these training records.

        Raises:
            ValueError: too few of them are rated on every dimension.
        """
        self._examples = FewShotExamples(self, pool, seed)

    def examples(self, record: Record) -> tuple[Record, ...]:
        """The training examples shown before a record's questions, the same for each of them.

        Raises:
            ValueError: `show_examples` was not called, or too few examples share nothing with the record.
        """
        if not self.shots:
            return ()
        if self._examples is None:
            raise ValueError(f"task.shots={self.shots} takes examples from the training split.")
        return self._examples.of(record)

    def ratings(self, record: Record, dimension: Dimension) -> tuple[float | None, ...]:
        """The raters' values for one dimension; None is a missing one."""
        return record.ratings.get(dimension.annotation, ())

    def target(
        self, record: Record, dimension: Dimension, rng: np.random.Generator
    ) -> np.ndarray | None:
        """The label policy's distribution over the dimension's scale; None where nobody rated."""
        ratings = self.ratings(record, dimension)
        weights = _for_all(learnt_weights(self.labels).get(dimension.annotation), len(ratings))
        if self.confidence:
            sure = confidence_weights(record.ratings.get(self.confidence, ()), len(ratings))
            weights = sure if weights is None else sure * weights
        if weights is None:
            return self.labels(ratings, dimension.scale, rng)
        return self.labels(ratings, dimension.scale, rng, weights=weights)

    def targets(
        self, record: Record, dimensions: Sequence[Dimension], rng: np.random.Generator
    ) -> dict[str, Target]:
        """The targets by dimension key; one that nobody rated has none."""
        found = {one.key: self.target(record, one, rng) for one in dimensions}
        return {key: Target(value) for key, value in found.items() if value is not None}


def _for_all(weights: np.ndarray | None, raters: int) -> np.ndarray | None:
    """Weights of so many raters; those beyond the ones that were learnt about count as their mean."""
    if weights is None or len(weights) >= raters:
        return None if weights is None else weights[:raters]
    more = np.full(raters - len(weights), weights.mean() if len(weights) else 1.0)
    return np.concatenate([weights, more])
