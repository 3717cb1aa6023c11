"""A task: a rubric, the context of a clip, and a policy that converts ratings to targets.

This module renders all prompts, for training, evaluation and the Python API. A task with only a rubric and a context
template is a YAML file; other tasks are subclasses of `Task`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.random import Generator

from dramaeval.config.problems import require_choice
from dramaeval.data.raters import POSITIONAL, POSITIONS, RATERS, UNKNOWN, RaterInfo, RaterKey
from dramaeval.data.records import AnnotationField, ReadResult, Record, RecordFormat, read_records
from dramaeval.data.turns import MODES, NONE
from dramaeval.tasks import listeners as listener_model
from dramaeval.tasks.few_shot import (
    TO_JUDGE,
    FewShotExamples,
    check_shots,
    example_content,
    example_scores,
)
from dramaeval.tasks.labels import (
    LabelPolicy,
    checked_policy,
    confidence_weights,
    learn_by_rater,
    learnt_weights,
    takes_weights,
    target_of_mean,
)
from dramaeval.tasks.question import AnswerField, Question, Target
from dramaeval.tasks.reference import clips_of_question, content_before, reference_field
from dramaeval.tasks.rubric import Dimension, Rubric, read_rubric, text_problems, texts_in
from dramaeval.tasks.templates import names_in
from dramaeval.tasks.turns import turn_remarks, turn_texts
from dramaeval.tasks.wordings import PhrasingsError, wordings

LAYOUTS = ("context_first", "criteria_first", "rubric_first")


class Task:
    """Builds the questions about each record, and their targets.

    Args:
        name: name of the task in results.
        rubric: the mapping of a rubric's YAML file, or a rubric.
        system: the system prompt.
        context: the text beside the clip, a template with text fields of the record, e.g. ``{local_scene}``.
        labels: the label policy, a callable.
        prompt_layout: what comes first: with ``context_first`` what the questions about a record share, so that it is
            computed once; with ``criteria_first`` the criterion (Speech-DRAME); with ``rubric_first`` all criteria.
        dimensions: keys of the dimensions to ask for; None asks for all.
        shots: number of training examples before each question (see `dramaeval.tasks.few_shot`); `show_examples`
            supplies them after the training records are read.
        confidence: annotation field with the confidence of raters on a scale from 1 to 5, which weights their ratings.
            None weights all raters equally.
        raters: with ``positions``, position k in every list of ratings is the same rater; with ``unknown``, positions
            do not identify raters. Records may name their raters, see `dramaeval.data.raters`.
        listeners: ``embed`` names a rater in training questions and asks for the mean of all raters in scoring, see
            `dramaeval.tasks.listeners`; ``none`` does not mention raters.
        phrasings: parts for other wordings of the questions, see `dramaeval.tasks.wordings`; None for no other wordings.
        turns: the turns of a record in the prompt before its clip: ``text``, ``audio`` (texts and clips), or None.
    """

    #: The tasks of a mixed task, by name; empty for a single task.
    parts: Mapping[str, Task] = MappingProxyType({})
    #: Whether each question asks for one dimension, so that examples can be shown with their scores.
    one_dimension_per_question = True
    #: The values of ``prompt_layout``.
    layouts: tuple[str, ...] = LAYOUTS
    #: Number of questions about a record and dimension in training by rewards: two if the scores of a pair's clips are
    #: compared.
    prompts_per_record = 1
    #: Keys of texts that prompts contain if a record has them.
    optional_text_fields: tuple[str, ...] = ()
    #: The settings from which the task was built, for ``judge.yaml``; None if it was built otherwise.
    built_from: Mapping[str, Any] | None = None

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
        raters: str = POSITIONS,
        listeners: str = listener_model.NONE,
        phrasings: Mapping[str, Any] | None = None,
        turns: str | None = None,
    ) -> None:
        texts = {"name": name, "system": system, "context": context}
        if problems := text_problems(texts, texts, "task"):
            raise ValueError("; ".join(problems) + ".")
        self.name = name
        self.rubric: Rubric = rubric if isinstance(rubric, Rubric) else read_rubric(rubric)
        self.system = system
        self.context = context
        self.labels = checked_policy(labels)
        self.confidence = confidence
        if confidence and not takes_weights(labels):
            raise ValueError(
                f"task.confidence={confidence} weights the raters, but the label policy takes no weights: give "
                "it an argument `weights`, or set task.confidence=null."
            )
        require_choice("task.raters", raters, (POSITIONS, UNKNOWN))
        self.raters_known = raters == POSITIONS
        #: By annotation field, the column of each rater in the ratings from which the label policy learnt.
        self._columns: dict[str, dict[RaterKey, int]] = {}
        require_choice("task.listeners", listeners, listener_model.LISTENERS)
        listener_model.require_default(listeners, shots=shots, raters=raters)
        self.has_listeners = listeners == listener_model.EMBED
        require_choice("task.prompt_layout", prompt_layout, self.layouts)
        self.prompt_layout = prompt_layout
        self.turns = turns or NONE
        require_choice("task.turns", self.turns, MODES)
        one_dimension = self.one_dimension_per_question
        check_shots(shots, name, self.rubric, self.turns, one_dimension=one_dimension)
        self.phrasings = phrasings
        #: By dimension key, the wordings that `wording_variants` chose instead of the rubric's.
        self._criteria: Mapping[str, str] = {}
        self._remark, self._reverses_examples = "", False
        self.shots = shots
        self._examples: FewShotExamples | None = None
        keys = [d.key for d in self.rubric.dimensions] if dimensions is None else dimensions
        self.dimensions: tuple[Dimension, ...] = tuple(self.rubric[key] for key in keys)
        explanation = {"type": "text", "text": self.rubric.explanation(self.dimensions) + "\n"}
        #: The first parts of a user message, the same for all records.
        self.first_parts = [explanation] if prompt_layout == "rubric_first" else []
        self.text_fields = names_in(context, "task.context")

    def record_format(self, *, annotated: bool = True) -> RecordFormat:
        """The keys and ratings of a record of this task."""
        fields = [dimension.annotation_field for dimension in self.dimensions]
        if self.confidence and self.confidence not in {field.name for field in fields}:
            fields.append(AnnotationField(name=self.confidence, low=1, high=5, required=False))
        return RecordFormat(
            text_fields=self.text_fields,
            annotation_fields=tuple(fields),
            annotated=annotated,
            raters_known=self.raters_known,
            reference_field=reference_field(self.dimensions),
            turns=self.turns,
        )

    def read(
        self, file: str | Path, *, reads_audio: bool = True, annotated: bool = True, **options: Any
    ) -> ReadResult:
        """Read and check a file of this task's records with `dramaeval.data.records.read_records`."""
        fmt = replace(self.record_format(annotated=annotated), reads_audio=reads_audio)
        return read_records(file, fmt, **options)

    def learn(self, records: Sequence[Record]) -> None:
        """Fit the label policy to the training records if it has a method `learn`."""
        if hasattr(self.labels, "learn"):
            rated = {
                d.annotation: [(self.ratings(r, d), self.rater_info(r, d)) for r in records]
                for d in self.dimensions
            }
            self._columns = learn_by_rater(self.labels, rated)

    def training_record(self, record: Record, rng: Generator) -> Record:
        """The record for one visit in training: with the ratings of all raters, or of one (``listeners``)."""
        if not self.has_listeners:
            return record
        return listener_model.sampled_listener(record, self._annotations, rng)

    @property
    def _annotations(self) -> list[str]:
        return [dimension.annotation for dimension in self.dimensions]

    def remarks(self, records: Sequence[Record]) -> dict[str, int]:
        """The number of records with each unusual but valid property, by a text about the property."""
        return turn_remarks(records, self.turns)

    def scoring(self) -> dict[str, Any]:
        """Settings that change how scores are computed; they are recorded in results."""
        return {}

    @property
    def rated_dimensions(self) -> tuple[Dimension, ...]:
        """The dimensions that have a scale; multiple-choice answers have none."""
        return self.dimensions

    def mixture(self, records: Sequence[Record]) -> list[tuple[list[int], float]] | None:
        """Groups of training records as (indices, relative share of an epoch); None uses every record once per epoch."""
        return None

    def max_written_tokens(self, record: Record) -> int:
        """The maximum number of tokens that a judge generates when it scores a record; 0 for none."""
        return 0

    def category(self, record: Record) -> str | None:
        """The category of the record's question, by which results are reported; None without categories."""
        return None

    def dimensions_for(self, record: Record) -> tuple[Dimension, ...]:
        """The dimensions on which the judge scores this record."""
        return self.dimensions

    def without_ratings(self) -> Self:
        """This task for unrated clips, with questions that do not depend on ratings."""
        return self

    def questions(
        self, record: Record, dimensions: Sequence[Dimension], rng: Generator | None = None
    ) -> list[Question]:
        """The questions about a record.

        Args:
            record: the record.
            dimensions: the dimensions to ask for; each has a separate answer field.
            rng: draws the varying parts of training questions; None gives the fixed questions of evaluation.
        """
        return [
            Question(
                messages=self.messages(record, dimension),
                answer_fields=(AnswerField.of_score(dimension),),
                key=(dimension.key,),
                clips=clips_of_question(record, [dimension]),
            )
            for dimension in dimensions
        ]

    def messages(self, record: Record, dimension: Dimension) -> list[dict[str, Any]]:
        """One question as chat messages, up to the beginning of the answer."""
        return self.chat(record, self.criterion(dimension), [dimension])

    def criterion(self, dimension: Dimension) -> str:
        """The text that asks for a dimension: the rubric's text, or the wording chosen by `wording_variants`."""
        worded = self._criteria.get(dimension.key)
        return worded or self.rubric.criterion(dimension, explained=not self.first_parts)

    def wording_variants(self, count: int, seed: int) -> list[Self]:
        """Copies of this task in ``count`` different wordings; the first is the rubric's wording.

        Raises:
            PhrasingsError: the task has no parts for wordings, or parts of another rubric.
        """
        if self.phrasings is None or self.first_parts:
            raise PhrasingsError("this task asks every question in one wording")
        worded = wordings(self.rubric, self.dimensions, self.phrasings, count=count, seed=seed)
        return [
            self._with_criteria({key: texts[number] for key, texts in worded.items()})
            for number in range(count)
        ]

    def _with_criteria(self, criteria: Mapping[str, str]) -> Self:
        return self._with(_criteria=criteria)

    def with_remark(self, remark: str) -> Self:
        """A copy of this task with a remark after the context of the clip to judge; examples have no remark."""
        return self._with(_remark=remark)

    def with_reversed_examples(self) -> Self:
        """A copy of this task with the few-shot examples of each question in reverse order."""
        return self._with(_reverses_examples=not self._reverses_examples)

    def _with(self, **attributes: Any) -> Self:
        other = copy(self)
        other.__dict__.update(attributes)
        return other

    def chat(
        self, record: Record, criterion: str, dimensions: Sequence[Dimension]
    ) -> list[dict[str, Any]]:
        """A question about some dimensions as chat messages: examples, turns, reference, clip, context and criterion."""
        examples = self.examples(record)
        listener = listener_model.listener_line(record, self.rubric) if self.has_listeners else ""
        context = "\n".join(filter(None, (self.context_text(record), listener, self._remark)))
        parts = list(filter(None, (context, criterion)))
        if self.prompt_layout == "criteria_first":
            parts.reverse()
        if examples:
            (dimension,) = dimensions
            ratings = [example.given(dimension.annotation) for example in examples]
            parts = [TO_JUDGE, *parts, example_scores(ratings, dimension)]
        content = [
            *self.first_parts,
            *example_content(examples, self.context_text),
            *content_before(record, dimensions, self.rubric),
            {"type": "audio", "audio_url": str(record.clip)},
            {"type": "text", "text": "\n".join(parts)},
        ]
        return self.chat_messages(content)

    def chat_messages(self, content: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The system prompt and a user message with this content."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": content}]

    def context_text(self, record: Record) -> str:
        """The context of a record's clip."""
        return self.context.format(**{name: record.fields[name] for name in self.text_fields})

    def texts(self, record: Record) -> dict[str, str]:
        """The texts of a record that its prompts and answers contain, by key; see `prompts`."""
        names = listener_model.names_of(record, self._annotations) if self.has_listeners else []
        raters = {f"{RATERS}.{name}": name for name in names}
        return {key: record.fields[key] for key in self.text_fields} | raters | turn_texts(record)

    def prompts(self, record: Record) -> dict[str, str]:
        """Complete prompts in a record, by key; they may contain the tags of answers."""
        return {}

    def wording_texts(self) -> dict[str, list[str]]:
        """The texts in prompts that come from the task's settings, by setting."""
        rubric = asdict(replace(self.rubric, dimensions=self.dimensions))
        return {
            "task.system": [self.system],
            "task.context": [self.context],
            "task.rubric": list(texts_in(rubric)),
            "task.phrasings": list(texts_in(self.phrasings)),
        }

    def show_examples(self, pool: Sequence[Record], seed: int) -> None:
        """Set the training records from which few-shot examples are chosen.

        Raises:
            ValueError: fewer than ``shots`` records are rated on every dimension.
        """
        rated = [
            record
            for record in pool
            if self.dimensions_for(record) == self.dimensions
            and all(record.given(dimension.annotation) for dimension in self.dimensions)
        ]
        if len(rated) < self.shots:
            raise ValueError(
                f"task.shots={self.shots}, but {len(rated)} of {len(pool)} training records are rated on every "
                "dimension: lower it, or give more training records (task.data.train=…)."
            )
        self._examples = FewShotExamples(rated, self.shots, seed, self.context_text)

    def examples(self, record: Record) -> tuple[Record, ...]:
        """The training examples before the questions about a record, the same for each question.

        Raises:
            ValueError: `show_examples` was not called, or too few examples are suitable (see `FewShotExamples.of`).
        """
        if not self.shots:
            return ()
        if self._examples is None:
            raise ValueError(f"task.shots={self.shots} takes examples from the training split.")
        examples = self._examples.of(record)
        return examples[::-1] if self._reverses_examples else examples

    def ratings(self, record: Record, dimension: Dimension) -> tuple[float | None, ...]:
        """The raters' values for one dimension; None for a missing value."""
        return record.ratings.get(dimension.annotation, ())

    def rater_info(self, record: Record, dimension: Dimension) -> RaterInfo:
        """The raters of one dimension."""
        return record.raters.get(dimension.annotation, POSITIONAL)

    def target(self, record: Record, dimension: Dimension, rng: Generator) -> np.ndarray | None:
        """The label policy's distribution over the dimension's scale; None if no rater gave a value."""
        ratings, info = self.ratings(record, dimension), self.rater_info(record, dimension)
        if info.mean_only:
            return target_of_mean(self.labels, ratings[0], info.std, dimension.scale, rng)
        weights = self._weights(record, dimension, info.keys(len(ratings)))
        if weights is None:
            return self.labels(ratings, dimension.scale, rng)
        return self.labels(ratings, dimension.scale, rng, weights=weights)

    def _weights(
        self, record: Record, dimension: Dimension, raters: Sequence[RaterKey]
    ) -> np.ndarray | None:
        """Learnt weights times stated confidence; None if there are no weights, or the raters are not known."""
        if not raters:
            return None
        field = dimension.annotation
        weights = learnt_weights(self.labels, field, self._columns.get(field, {}), raters)
        if not self.confidence:
            return weights
        values = record.ratings.get(self.confidence, ())
        stated = confidence_weights(raters, values, record.raters.get(self.confidence, POSITIONAL))
        return stated if weights is None else stated * weights

    def targets(
        self, record: Record, dimensions: Sequence[Dimension], rng: Generator
    ) -> dict[str, Target]:
        """The targets by dimension key; a dimension without ratings has none."""
        targets = {d.key: self.target(record, d, rng) for d in dimensions}
        return {key: Target(target) for key, target in targets.items() if target is not None}
