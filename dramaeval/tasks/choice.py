"""Multiple-choice questions about a clip; the answer is the text of an option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from dramaeval.data.record_format import OPTIONAL_TEXTS, ChoiceField
from dramaeval.data.records import Record, RecordFormat
from dramaeval.data.turns import NONE
from dramaeval.tasks.question import AnswerField, Question
from dramaeval.tasks.rubric import Dimension, Rubric, text_problems
from dramaeval.tasks.task import Task
from dramaeval.tasks.templates import template_problem

#: The names that the templates of the rubric may hold in braces.
_NAMES = {"question": ("question", "options"), "option_line": ("number", "option")}
ANSWER = "answer"
SCORING = ("likelihood", "generation")


class ChoiceTask(Task):
    """A task whose records contain a question, options and the right answer.

    Args:
        rubric: ``name``, ``version``, ``language``, ``question`` (a template with ``{question}`` and
            ``{options}``) and ``option_line`` (a template with ``{number}`` and ``{option}``).
        question_field: key of the question in a record.
        options_field: key of the list of options.
        answer_field: key of the right option's index, from 0.
        audio_field: key of the clip's path.
        category_field: key of the category by which accuracy is reported; records may lack it.
        scoring: ``likelihood``, which compares the exact likelihoods of the options as complete answers, and
            optionally ``generation``, with which the judge also writes an answer.
        answer_tokens: maximum number of tokens of a generated answer.
        kwargs: further arguments of `Task`.
    """

    one_dimension_per_question = False

    def __init__(
        self,
        *,
        rubric: Mapping[str, Any],
        question_field: str = "question_text",
        options_field: str = "multi_choice",
        answer_field: str = "answer",
        audio_field: str = "audio_path",
        category_field: str = "question_type",
        scoring: Sequence[str] = SCORING,
        answer_tokens: int = 32,
        **kwargs: Any,
    ) -> None:
        allowed = {"name", "version", "language", "question", "option_line"}
        problems = [
            f"task.rubric.{key} is missing" for key in allowed if rubric.get(key) in (None, "")
        ]
        problems += text_problems(rubric, allowed, "task.rubric")
        problems += [f"task.rubric.{key} is not known" for key in set(rubric) - allowed]
        problems += [
            f"task.rubric.{key} {problem}"
            for key, names in _NAMES.items()
            if (problem := template_problem(str(rubric.get(key) or ""), names))
        ]
        problems += [
            f"task.scoring: {method} is not known; choose from {', '.join(SCORING)}"
            for method in scoring
            if method not in SCORING
        ]
        if "likelihood" not in scoring:
            problems.append("task.scoring must hold likelihood; add generation to it if you like")
        if answer_tokens < 1:
            problems.append(f"task.answer_tokens={answer_tokens} must be 1 or more")
        if problems:
            raise ValueError("; ".join(sorted(problems)) + ".")
        answer = Dimension(
            key=ANSWER, annotation=answer_field, title="Answer", scale=(0, 1),
            description="The right option.", scores={},
        )  # fmt: skip
        composed = Rubric(
            name=rubric["name"],
            version=rubric["version"],
            language=rubric["language"],
            dimensions=(answer,),
            question=rubric["question"],
            score_line=rubric["option_line"],
        )
        for key in ("prompt_layout", "dimensions", "confidence", "context"):
            if kwargs.pop(key, None) is not None:
                raise ValueError(f"task.{key} has no effect in multiple choice: leave it out.")
        if (kwargs.get("turns") or NONE) != NONE:
            raise ValueError(
                f"task.turns={kwargs['turns']} has no place in multiple choice: set task.turns=none."
            )
        super().__init__(rubric=composed, context="", **kwargs)
        self.question_field = question_field
        self.options_field = options_field
        self.answer_field = answer_field
        self.audio_field = audio_field
        self.category_field = category_field
        self.scored_by = tuple(scoring)
        self.answer_tokens = answer_tokens

    def record_format(self, *, annotated: bool = True) -> RecordFormat:
        """Records have a question, options and, if ``annotated``, an answer."""
        return RecordFormat(
            text_fields=(self.question_field,),
            annotated=annotated,
            audio_field=self.audio_field,
            choice=ChoiceField(options=self.options_field, answer=self.answer_field),
            optional_texts=(*OPTIONAL_TEXTS, self.category_field),
        )

    def scoring(self) -> dict[str, Any]:
        """The setting ``scoring``."""
        return {"scoring": list(self.scored_by)}

    def max_written_tokens(self, record: Record) -> int:
        """The maximum number of tokens of a generated answer; 0 if none is generated."""
        return self.answer_tokens if "generation" in self.scored_by else 0

    @property
    def rated_dimensions(self) -> tuple[Dimension, ...]:
        """None: options have no scale."""
        return ()

    def options(self, record: Record) -> tuple[str, ...]:
        """The texts of a record's options."""
        return tuple(text.strip() for text in record.fields[self.options_field])

    def texts(self, record: Record) -> dict[str, str]:
        """The question and each option."""
        options = enumerate(self.options(record))
        return {
            self.question_field: record.fields[self.question_field],
            **{f"{self.options_field}[{number}]": option for number, option in options},
        }

    def category(self, record: Record) -> str | None:
        """The category of the question; None if the record names none."""
        return record.text(self.category_field)

    def questions(
        self, record: Record, dimensions: Sequence[Dimension], rng: Generator | None = None
    ) -> list[Question]:
        """The record's question, with its options as choices."""
        options = self.options(record)
        return [
            Question(
                messages=self.messages(record, dimension),
                answer_fields=(AnswerField.of_options(dimension, options),),
                key=(dimension.key,),
            )
            for dimension in dimensions
        ]

    def messages(self, record: Record, dimension: Dimension) -> list[dict[str, Any]]:
        """The question with its numbered options as chat messages."""
        lines = [
            self.rubric.score_line.format(number=number, option=option)
            for number, option in enumerate(self.options(record), 1)
        ]
        text = self.rubric.question.format(
            question=record.fields[self.question_field], options="\n".join(lines)
        )
        content = [{"type": "audio", "audio_url": str(record.clip)}, {"type": "text", "text": text}]
        return self.chat_messages(content)

    def target(self, record: Record, dimension: Dimension, rng: Generator) -> np.ndarray | None:
        """The label policy's distribution over the options; None if the record has no answer."""
        scale = tuple(range(len(self.options(record))))
        return self.labels(self.ratings(record, dimension), scale, rng)
