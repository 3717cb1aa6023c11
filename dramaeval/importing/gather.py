"""Gathers rows into one draft record for each clip, with its texts, its ratings and the rows of the source."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.data.problems import Problem, line_list
from dramaeval.importing.columns import (
    KEPT_KEYS,
    NO_COLUMN,
    TEXTS,
    Meaning,
    plain_text,
    rater_of_column,
    text_of,
)
from dramaeval.importing.problems import in_file
from dramaeval.importing.rows import Row
from dramaeval.importing.scores import Score, ScoreError, ScoreReader

#: With more raters than this, a record lists only the raters of its clip.
MAX_POSITIONS = 64
SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Rating:
    """A rater's score for a field of the annotations, and the row that holds it; rater None: unknown."""

    field: str
    rater: str | None
    score: Score | None
    row: Row


@dataclass
class ClipDraft:
    """The texts, ratings and problems of a clip, from all of its rows."""

    clip: str
    #: The second clip of a pair; an empty text if the records are single clips.
    clip_b: str = ""
    rows: list[Row] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    ratings: list[Rating] = field(default_factory=list)
    means: dict[str, dict[str, Score]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    #: The paths of the clips that have been located, and their total length in seconds.
    paths: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def clips(self) -> list[str]:
        """The names of the clip, or of both clips of a pair."""
        return [self.clip, self.clip_b] if self.clip_b else [self.clip]


class Gatherer:
    """Gathers the rows of a table by clip and reads their scores; `file` is named in problems of the whole source."""

    def __init__(self, meaning: Meaning, settings: ImporterConfig, file: Path) -> None:
        self.meaning, self.settings, self.file = meaning, settings, file
        self.scores = ScoreReader(settings)
        self.drafts: dict[tuple[str, str], ClipDraft] = {}
        self.problems: list[Problem] = []
        self.fields: list[str] = [*meaning.dimensions, *meaning.means]

    def gather(self, rows: Sequence[Row]) -> list[ClipDraft]:
        """One draft for each clip, in the order of the rows."""
        for row in rows:
            clip = text_of(row, self.meaning.roles["clip"])
            if not clip:
                fix = "name the clip in every row, or leave the row out"
                self.problems.append(row.problem(self.meaning.roles["clip"], "no clip", fix))
                continue
            other = self.meaning.roles.get("clip_b")
            clip_b = text_of(row, other) if other else ""
            draft = self.drafts.setdefault((clip, clip_b), ClipDraft(clip, clip_b))
            if other and not clip_b:
                fix = "name both clips of the pair in every row"
                draft.problems.append(row.problem(other, "no second clip", fix, clip))
            draft.rows.append(row)
            self._add_texts(draft, row)
            draft.ratings += self._ratings(draft, row)
            self._add_means(draft, row)
        drafts = list(self.drafts.values())
        for draft in drafts:
            self._settle_repeats(draft)
        if self._single_numbers(drafts):
            self._read_single_numbers(drafts)
        elif self.settings.values is not None and not self.meaning.means:
            fix = "leave importer.values out, or name the columns of means: importer.dimensions={A: {mean: A}}"
            given = f"importer.values={self.settings.values}"
            problem = f"{given}, but clips have several ratings or raters"
            self.problems.append(in_file(self.file, problem, fix))
        return drafts

    def _add_texts(self, draft: ClipDraft, row: Row) -> None:
        roles = self.meaning.roles
        split_of_file = None if self.settings.columns.get("split") == NO_COLUMN else row.split
        for role in (*TEXTS, *KEPT_KEYS, "id", "split"):
            if role not in roles and not (role == "split" and split_of_file):
                continue
            text = text_of(row, roles[role]) if role in roles else str(split_of_file)
            earlier = draft.texts.get(role)
            if earlier and text and text != earlier:
                first = draft.rows[0].number
                problem = f"{text!r}, but {earlier!r} in row {first} of the same clip"
                fix = "give the same value in all rows of a clip, or importer.columns.ROLE=none"
                draft.problems.append(row.problem(roles.get(role), problem, fix, draft.clip))
            elif text:
                draft.texts[role] = text

    def _ratings(self, draft: ClipDraft, row: Row) -> Iterator[Rating]:
        rater = self._rater(draft, row)
        if self.meaning.is_long:
            column = self.meaning.roles["score"]
            if name := self._question(draft, row):
                yield from self._cell_ratings(draft, row, name, column, rater)
            return
        for name, columns in self.meaning.dimensions.items():
            for column in columns:
                column_rater = rater_of_column(column) or (column if len(columns) > 1 else rater)
                yield from self._cell_ratings(draft, row, name, column, column_rater)

    def _question(self, draft: ClipDraft, row: Row) -> str | None:
        column = self.meaning.roles.get("question")
        name = text_of(row, column) if column else self.settings.name or self.meaning.roles["score"]
        if not name:
            fix = "name the question in every row, or leave the row out"
            draft.problems.append(row.problem(column, "no question", fix, draft.clip))
        elif name not in self.fields:
            self.fields.append(name)
        return name or None

    def _rater(self, draft: ClipDraft, row: Row) -> str | None:
        column = self.meaning.roles.get("rater")
        rater = text_of(row, column) if column else ""
        if column and not rater:
            fix = "name the rater in every row, or set importer.columns.rater=none if raters are unknown"
            draft.problems.append(row.problem(column, "no rater", fix, draft.clip))
        return rater or None

    def _cell_ratings(
        self, draft: ClipDraft, row: Row, name: str, column: str, rater: str | None
    ) -> Iterator[Rating]:
        """The ratings in a cell: one rating, or several if the cell is a list."""
        cell = row.get(column)
        is_list = isinstance(cell, list | tuple)
        for position, value in enumerate(cell if is_list else [cell], 1):
            if is_list:
                rater = str(position) if self.settings.positions == "raters" else None
            score = self._score(draft, row, column, value)
            yield Rating(name, rater, score, row)

    def _score(self, draft: ClipDraft, row: Row, column: str, cell: Any) -> Score | None:
        try:
            return self.scores.read(cell)
        except ScoreError as error:
            draft.problems.append(row.problem(column, error.problem, error.fix, draft.clip))
            return None

    def _add_means(self, draft: ClipDraft, row: Row) -> None:
        for name, columns in self.meaning.means.items():
            scores = {
                key: self._score(draft, row, column, row.get(column))
                for key, column in columns.items()
            }
            mean = {key: value for key, value in scores.items() if value is not None}
            if "mean" in mean and draft.means.setdefault(name, mean) != mean:
                fix = "keep one row for each clip"
                problem = f"{mean['mean']}, but another mean in an earlier row of the clip"
                draft.problems.append(row.problem(columns["mean"], problem, fix, draft.clip))

    def _settle_repeats(self, draft: ClipDraft) -> None:
        """Report several ratings by one rater for a field, or keep the first or the last of them."""
        by_rater: dict[tuple[str, str], list[Rating]] = {}
        for rating in draft.ratings:
            if rating.rater is not None and rating.score is not None:
                by_rater.setdefault((rating.field, rating.rater), []).append(rating)
        dropped: set[int] = set()
        for (name, rater), ratings in by_rater.items():
            if len(ratings) == 1:
                continue
            keep = ratings[-1] if self.settings.repeats == "last" else ratings[0]
            dropped |= {id(rating) for rating in ratings if rating is not keep}
            if self.settings.repeats == "error":
                rows = line_list(rating.row.number for rating in ratings).replace("line", "row", 1)
                scores = ", ".join(str(rating.score) for rating in ratings)
                problem = f"{len(ratings)} ratings by {rater}: {scores} ({rows})"
                fix = "keep one rating of each rater, or set importer.repeats=first (or last)"
                draft.problems.append(ratings[-1].row.problem(name, problem, fix, draft.clip))
        draft.ratings = [rating for rating in draft.ratings if id(rating) not in dropped]

    def _single_numbers(self, drafts: Sequence[ClipDraft]) -> bool:
        """Whether each clip has exactly one number for each field, without a rater; in long form, at most one."""
        fields = len(self.meaning.dimensions)
        return (fields > 0 or self.meaning.is_long) and all(
            (self.meaning.is_long or (len(draft.rows) == 1 and len(draft.ratings) == fields))
            and len({rating.field for rating in draft.ratings}) == len(draft.ratings)
            and all(rating.rater is None for rating in draft.ratings)
            for draft in drafts
        )

    def _read_single_numbers(self, drafts: Sequence[ClipDraft]) -> None:
        """Turn single numbers into means if ``importer.values=means``; without the setting, report unclear numbers."""
        if self.settings.values == "ratings":
            return
        columns = {name: own[0] for name, own in self.meaning.dimensions.items()}
        if self.meaning.is_long:
            columns = dict.fromkeys(self.fields, self.meaning.roles["score"])
        if self.settings.values is None:
            fix = "set importer.values=means if it is a mean of several raters, else importer.values=ratings"
            for name, column in columns.items():
                unclear = next(
                    (r for d in drafts for r in d.ratings if r.field == name and _is_fine(r.score)),
                    None,
                )
                if unclear:
                    problem = f"{unclear.score} in row {unclear.row.number}: a mean, or one person's rating?"
                    self.problems.append(in_file(self.file, problem, fix, column))
            return
        for draft in drafts:
            draft.means = {r.field: {"mean": r.score} for r in draft.ratings if r.score is not None}
            draft.ratings = []
        self.meaning.means = {name: {"mean": column} for name, column in columns.items()}
        self.meaning.dimensions = {}


def _is_fine(score: Score | None) -> bool:
    """Whether a score is neither a whole nor a half point."""
    return score is not None and score * 2 != int(score * 2)


def raters_of(drafts: Sequence[ClipDraft]) -> list[str]:
    """The identified raters in order of appearance."""
    raters = dict.fromkeys(rating.rater for draft in drafts for rating in draft.ratings)
    return [rater for rater in raters if rater is not None]


def annotations_of(
    draft: ClipDraft,
    fields: Sequence[str],
    raters: Sequence[str],
    mean_fields: Collection[str],
) -> tuple[dict[str, Any], list[str]]:
    """The annotations of a record, and the raters of the lists in it, in the same order.

    If all raters are identified, position k belongs to the k-th of ``raters``; with more than `MAX_POSITIONS` raters, a
    record has positions only for the raters of its clip. Otherwise the ratings are in the order of the rows, without
    raters.
    """
    means = {name: _mean_value(draft.means.get(name)) for name in mean_fields}
    rated = [name for name in fields if name not in means]
    if not rated:
        return means, []
    if raters and all(rating.rater is not None for rating in draft.ratings):
        positions = list(raters)
        if len(raters) > MAX_POSITIONS:
            positions = list(dict.fromkeys(r.rater for r in draft.ratings if r.rater is not None))
        scores = {(r.field, r.rater): r.score for r in draft.ratings if r.score is not None}
        lists = {name: [scores.get((name, rater)) for rater in positions] for name in rated}
        return {**means, **lists}, positions
    lists = {name: [r.score for r in draft.ratings if r.field == name] for name in rated}
    longest = max(map(len, lists.values()))
    padded = {name: scores + [None] * (longest - len(scores)) for name, scores in lists.items()}
    return {**means, **padded}, []


def _mean_value(mean: Mapping[str, Score] | None) -> Any:
    """A mean rating: a number, or a mapping if it has a deviation or a number of raters, or is missing."""
    if not mean or "mean" not in mean:
        return {"mean": None}
    return mean["mean"] if set(mean) == {"mean"} else dict(mean)


def source_of(draft: ClipDraft, source: Path) -> list[dict[str, Any]]:
    """The value of a record's key ``source``: the rows of its clip, unchanged, with file (in ``source``) and number."""
    return [
        {
            "file": row.file.name if row.file == source else str(row.file.relative_to(source)),
            "row": row.number,
            "values": dict(row.values),
        }
        for row in draft.rows
    ]


def shared_values(draft: ClipDraft, taken: Mapping[str, Any]) -> dict[str, Any]:
    """The values of further columns by name, if they are the same in all rows of the clip."""
    first = draft.rows[0]
    return {
        name: value
        for name, value in {**first.values, **first.derived}.items()
        if name not in taken
        and not (name in first.derived and "." in name)
        and isinstance(value, str | int | float | bool)
        and plain_text(value)
        and all(row.get(name) == value for row in draft.rows)
    }


def split_of(draft: ClipDraft) -> str | None:
    """The split of a record: train, val or test for their usual names in the source, else the source's name."""
    text = draft.texts.get("split")
    return SPLITS.get(text.casefold(), text) if text else None
