"""Pairs of clips with one context: the judge decides which clip is better on a dimension.

With ``by: score`` each clip is scored singly, with the questions about single clips, and the probabilities are computed
from the difference of the expected scores. A judge trained in this way can also score single clips. With ``by: direct``
both clips are in one prompt, and the judge answers A, B or tie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.random import Generator

from dramaeval.config.home_folder import expand_home
from dramaeval.config.problems import require_choice
from dramaeval.data.pair_format import CLIP_A, CLIP_B, SYSTEMS, VOTES, is_pair, vote_field
from dramaeval.data.problems import BadRecordsError, Problem, counted
from dramaeval.data.records import ReadResult, Record, RecordFormat, checked_lines, read_records
from dramaeval.tasks.derived_pairs import PairRule, derive_pairs
from dramaeval.tasks.listeners import EMBED, NONE
from dramaeval.tasks.question import AnswerField, PairPlace, Question
from dramaeval.tasks.reference import clips_of_question, content_before
from dramaeval.tasks.rubric import Dimension, text_problem
from dramaeval.tasks.speech import SpeechTask
from dramaeval.tasks.task import Task
from dramaeval.tasks.templates import template_problem

SCORE, DIRECT = "score", "direct"
#: The answers in a direct comparison: the second clip is better, tie, the first clip is better.
ANSWERS = ("B", "tie", "A")
OUTCOMES = (-1.0, 0.0, 1.0)
"""The outcomes of a comparison: clip b is better, tie, clip a is better. Targets are distributions over them."""


class PairTask(SpeechTask):
    """Compares two clips with one context.

    A file has pairs (`dramaeval.data.pair_format`), or rated records of single clips, from which pairs are derived
    (`dramaeval.tasks.derived_pairs`). On a graded scale from −2 to 2, a vote of +1 counts half for clip a and half for
    a tie, so that the mean vote is kept.

    Args:
        by: ``score`` or ``direct``, see the module.
        slope: log-odds of the better clip for a difference of one score (``by: score``).
        tie_weight: ν of Davidson's model (``by: score``): the probability of a tie between clips with the same score
            is ν/(2 + ν); 0 allows no ties.
        clip_label: text before each clip of a direct comparison, a template with ``{name}`` (A or B).
        comparison: the question of a direct comparison, a template with ``{title}`` and ``{description}``.
        derive: the arguments of `PairRule`.
        kwargs: further arguments of `SpeechTask`.
    """

    def __init__(
        self,
        *,
        by: str = SCORE,
        slope: float = 1.0,
        tie_weight: float = 1.0,
        clip_label: str,
        comparison: str,
        derive: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        require_choice("task.by", by, (SCORE, DIRECT))
        problems = (
            [] if 0 < slope < math.inf else [f"task.slope={slope} must be above 0 and finite"]
        )
        if not 0 <= tie_weight < math.inf:
            problems.append(f"task.tie_weight={tie_weight} must be 0 or more and finite")
        templates = {
            "task.clip_label": (clip_label, ("name",)),
            "task.comparison": (comparison, ("title", "description")),
        }
        for key, (template, names) in templates.items():
            if problem := text_problem(template) or template_problem(template, names):
                problems.append(f"{key} {problem}")
        if kwargs.get("shots"):
            problems.append(
                f"task.shots={kwargs['shots']}: a pair has no examples before it. Set task.shots=0"
            )
        if by == DIRECT and kwargs.get("prompt_layout") == "rubric_first":
            problems.append("task.prompt_layout=rubric_first needs task.by=score")
        if by == DIRECT and kwargs.get("listeners") == EMBED:
            problems.append(f"task.listeners={EMBED} needs task.by=score")
        if problems:
            raise ValueError("; ".join(problems) + ".")
        super().__init__(**kwargs)
        self.by = by
        self.prompts_per_record = 2 if by == SCORE else 1
        self.slope = float(slope)
        self.tie_weight = float(tie_weight)
        self.clip_label = clip_label
        self.comparison = comparison
        self.rule = PairRule.of_settings(derive or {})
        self._asks_all = False

    def for_single_clips(self) -> Task:
        """Make the task that scores each clip singly, with the same questions.

        Raises:
            ValueError: this task compares clips directly (``by: direct``).
        """
        if self.by == DIRECT:
            raise ValueError(
                f"task={self.name} with task.by=direct compares two clips in one prompt and has no scores of single "
                "clips: use Judge.compare."
            )
        return SpeechTask(
            name=self.name,
            rubric=self.rubric,
            system=self.system,
            context=self.context,
            optional_context=list(self.optional_lines),
            labels=self.labels,
            prompt_layout=self.prompt_layout,
            dimensions=[dimension.key for dimension in self.dimensions],
            turns=self.turns,
            listeners=EMBED if self.has_listeners else NONE,
        )

    @property
    def rated_dimensions(self) -> tuple[Dimension, ...]:
        """Empty: pairs have votes, not ratings on a scale."""
        return ()

    def record_format(self, *, annotated: bool = True) -> RecordFormat:
        """The format of pairs with votes."""
        fmt = super().record_format(annotated=annotated)
        names = {dimension.annotation for dimension in self.dimensions}
        return replace(
            fmt,
            annotation_fields=tuple(
                vote_field(field) if field.name in names else field
                for field in fmt.annotation_fields
            ),
            audio_field=CLIP_A,
            second_audio_field=CLIP_B,
            optional_texts=(*fmt.optional_texts, *SYSTEMS),
        )

    def read(
        self, file: str | Path, *, reads_audio: bool = True, annotated: bool = True, **options: Any
    ) -> ReadResult:
        """Read pairs, or read rated records and derive pairs from them.

        If one line of a file is a pair, all lines must be pairs.

        Raises:
            BadRecordsError: records have problems (all are listed), no pair can be derived, or all votes are ties.
        """
        file = expand_home(file)
        if any(is_pair(line.fields) for line in checked_lines(file) if line.fields):
            fmt = replace(self.record_format(annotated=annotated), reads_audio=reads_audio)
            result = read_records(file, fmt, **options)
        else:
            # A clip without ratings (for example rejected by a gate) is in no pair; this is not a problem.
            fmt = replace(super().record_format(annotated=False), reads_audio=reads_audio)
            result = read_records(file, fmt, **options)
            singles = len(result.records)
            result.records = derive_pairs(result.records, self, self.rule, needs_votes=annotated)
            kind = "rated record" if annotated else "record"
            result.notices.append(
                f"{counted(len(result.records), 'pair')} derived from {counted(singles, kind)} (task.derive)"
            )
        if annotated:
            _require_a_preference(file, result.records, self)
        return result

    def dimensions_for(self, record: Record) -> tuple[Dimension, ...]:
        """The dimensions with votes; all dimensions for a record without votes."""
        if self._asks_all:
            return self.dimensions
        voted = tuple(d for d in self.dimensions if record.given(d.annotation))
        return voted or self.dimensions

    def without_ratings(self) -> Self:
        """A copy of this task that asks about all dimensions of every record."""
        return self._with(_asks_all=True)

    def remarks(self, records: Sequence[Record]) -> dict[str, int]:
        """The remarks of `SpeechTask`, and the numbers of pairs with only ties, and of pairs of one system."""
        ties = sum(
            any(record.given(dimension.annotation) for dimension in self.dimensions)
            and not _has_preference(record, self)
            for record in records
        )
        same = sum(
            bool(system) and system == record.text(SYSTEMS[1])
            for record in records
            if (system := record.text(SYSTEMS[0])) is not None
        )
        counts = {"have ties only": ties, "compare two clips of one system": same}
        return super().remarks(records) | {text: count for text, count in counts.items() if count}

    def scoring(self) -> dict[str, Any]:
        """The settings that determine the probabilities."""
        model = {"slope": self.slope, "tie_weight": self.tie_weight} if self.by == SCORE else {}
        return {"by": self.by, **model}

    def questions(
        self, record: Record, dimensions: Sequence[Dimension], rng: Generator | None = None
    ) -> list[Question]:
        """The questions about both clips; for a record with one clip, as in `SpeechTask`.

        In a direct comparison, training (with ``rng``) draws one of the two orders of the clips each time; scoring uses
        both orders.
        """
        if record.clip_b is None:
            return super().questions(record, dimensions, rng)
        clips: dict[str, tuple[Path, ...]] = {"a": (record.clip,), "b": (record.clip_b,)}
        if self.by == DIRECT:
            clips = {"ab": (record.clip, record.clip_b), "ba": (record.clip_b, record.clip)}
            if rng is not None:
                order = ("ab", "ba")[int(rng.integers(2))]
                clips = {order: clips[order]}
        # The questions are in the order of the paths, so that exchanging the clips does not change a bit of the result.
        return [
            self._question(record, dimension, order, clips[order])
            for order in sorted(clips, key=lambda name: list(map(str, clips[name])))
            for dimension in dimensions
        ]

    def _question(
        self, record: Record, dimension: Dimension, order: str, clips: tuple[Path, ...]
    ) -> Question:
        if self.by == SCORE:
            single = replace(record, clip=clips[0], clip_b=None, seconds_b=0.0)
            messages, field = self.messages(single, dimension), AnswerField.of_score(dimension)
        else:
            content = content_before(record, [dimension], self.rubric, labels_candidate=False)
            messages = self._direct_messages(record, dimension, clips, content)
            field = AnswerField(dimension=dimension, choices=ANSWERS, scale=OUTCOMES)
        return Question(
            messages=messages,
            answer_fields=(field,),
            key=(dimension.key, order),
            clips=clips_of_question(record, [dimension], clips),
            pair=PairPlace(order=order, slope=self.slope, tie_weight=self.tie_weight),
        )

    def _direct_messages(
        self,
        record: Record,
        dimension: Dimension,
        clips: Sequence[Path],
        content: list[dict[str, Any]],
    ) -> list[dict[str, Any]]:
        criterion = self.comparison.format(title=dimension.title, description=dimension.description)
        parts = [text for text in (self.context_text(record), criterion) if text]
        if self.prompt_layout == "criteria_first":
            parts.reverse()
        for name, clip in zip("AB", clips, strict=True):
            content += [
                {"type": "text", "text": self.clip_label.format(name=name)},
                {"type": "audio", "audio_url": str(clip)},
            ]
        return self.chat_messages([*content, {"type": "text", "text": "\n".join(parts)}])

    def wording_texts(self) -> dict[str, list[str]]:
        """The texts of `SpeechTask`, and the texts of a direct comparison."""
        texts = {"task.clip_label": [self.clip_label], "task.comparison": [self.comparison]}
        return super().wording_texts() | (texts if self.by == DIRECT else {})

    def target(self, record: Record, dimension: Dimension, rng: Generator) -> np.ndarray | None:
        """The label policy's distribution over the votes, converted to a distribution over `OUTCOMES`."""
        shares = super().target(record, replace(dimension, scale=VOTES), rng)
        return None if shares is None else outcome_shares(shares)


def outcome_shares(votes: np.ndarray) -> np.ndarray:
    """Convert a distribution over the votes −2…2 to one over clip b, tie and clip a: a vote of ±1 is half a tie.

    The mean is kept: Σ k·p(k) over `OUTCOMES` is half of the mean vote.
    """
    b, slightly_b, tie, slightly_a, a = votes
    return np.array([b + slightly_b / 2, tie + (slightly_a + slightly_b) / 2, a + slightly_a / 2])


def _has_preference(record: Record, task: Task) -> bool:
    return any(any(record.given(dimension.annotation)) for dimension in task.dimensions)


def _require_a_preference(file: Path, records: Sequence[Record], task: Task) -> None:
    """Check that not every vote of a file is a tie, because such a file cannot train a judge or measure agreement.

    Raises:
        BadRecordsError: every vote is a tie.
    """
    if not records or any(_has_preference(record, task) for record in records):
        return
    problem = Problem(
        file=file, line=None, id=None, key="annotations",
        problem=f"all votes of {counted(len(records), 'pair')} are ties",
        fix="give pairs of which raters prefer one clip",
    )  # fmt: skip
    raise BadRecordsError([problem])
