"""The meaning of a source's columns, from the settings, or guessed if exactly one meaning fits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.config.problems import near_match_hint
from dramaeval.data.import_formats import AUDIO_ENDINGS
from dramaeval.data.problems import Problem
from dramaeval.importing.problems import in_file
from dramaeval.importing.rows import Row, Table
from dramaeval.importing.scores import ScoreReader, looks_numeric

#: Names of columns by role, in lower case and without punctuation.
NAMES: Mapping[str, tuple[str, ...]] = {
    "clip": (
        "clip", "clippath", "wav", "wavpath", "wavfile", "audio", "audiopath", "audiofile", "file", "filename",
        "filepath", "path", "stimulus", "recording",
    ),
    "rater": (
        "rater", "raterid", "listener", "listenerid", "annotator", "annotatorid", "worker", "workerid",
        "participant", "participantid", "subject", "subjectid", "judge", "evaluator", "userid", "prolificpid",
    ),
    "question": ("question", "questionid", "dimension", "criterion", "attribute", "aspect", "property"),
    "score": ("score", "rating", "value", "response", "answer", "choice", "grade"),
    "id": ("id", "clipid", "recordid", "sampleid", "uttid", "utteranceid"),
    "transcript": ("transcript", "transcription", "text", "sentence", "line"),
    "character": ("character", "speaker", "speakerid", "actor", "actorid"),
    "scene": ("scene",),
    "system": ("system", "systemid", "tts"),
    "language": ("language", "lang"),
    "clip_b": ("clipb", "wavb", "audiob"),
    "split": ("split", "subset", "partition"),
}  # fmt: skip
#: Roles whose texts are written to the record under the name of the role.
TEXTS = ("transcript", "character", "scene", "system", "language")
#: Keys of records that are recognised as columns.
KEPT_KEYS = ("local_scene", "char_age", "char_style", "char_profile", "emotion")
ROLES = (*NAMES, *KEPT_KEYS)
_NOT_RATINGS = re.compile(
    r"(.*[ _])?(index|age|duration|seconds|time|timestamp|order|trial|page|session|year|date|rt|n|count|votes|"
    r"std|sd|var|ci|row|number|num|id|idx|column \d+|unnamed.*|progress|latitude|longitude|snr|key)|__\w+",
    re.IGNORECASE,
)
#: A word for a rater with a number, one letter or, after a separator, a name: rater1, raterA, "judge Smith". Longer words,
#: such as judgement and expertise, are not of raters.
_RATER_COLUMN = re.compile(
    r"(?:(?P<field>.+?)[ _.\-]+)?"
    r"(?P<rater>(?:rater|listener|annotator|judge|expert|subject|evaluator)"
    r"(?:[ _.\-]+\w+|\d\w*|[a-z]))",
    re.IGNORECASE,
)
#: Columns with a short name and a number, such as r1 or score_2, may belong to raters or to dimensions.
_NUMBERED = re.compile(
    r"(?P<stem>[a-z]|score|rating|vote|person|participant|answer|response|value)[ _.\-]?\d+",
    re.IGNORECASE,
)
NO_COLUMN = "none"
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
#: Numbers outside this range count as ratings only if the settings name their column.
_GUESSED_RANGE = (0, 10)


@dataclass(kw_only=True)
class Meaning:
    """The meaning of the columns.

    Attributes:
        roles: the column, or a text with ``{column}``, by role.
        dimensions: the columns with ratings by field of the annotations; several columns belong to several raters.
        means: the columns by field of the annotations: of the mean rating (``mean``), and if known of its standard
            deviation (``std``) and its number of raters (``n``).
        guessed: the roles and fields that the settings do not name.
    """

    roles: dict[str, str] = field(default_factory=dict)
    dimensions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    means: dict[str, dict[str, str]] = field(default_factory=dict)
    guessed: set[str] = field(default_factory=set)

    @property
    def is_long(self) -> bool:
        """Whether each row holds one score."""
        return "score" in self.roles

    def lines(self) -> Iterator[str]:
        """The meaning as text, one line for each role and dimension."""
        for role, column in self.roles.items():
            yield f"{role}: {column}{' (guessed)' if role in self.guessed else ''}"
        for name, columns in self.dimensions.items():
            shown = ", ".join(columns)
            yield f"ratings of {name}: {shown}{' (guessed)' if name in self.guessed else ''}"
        for name, of_mean in self.means.items():
            further = [f", {key} {column}" for key, column in of_mean.items() if key != "mean"]
            yield f"mean rating of {name}: {of_mean.get('mean')}{''.join(further)}"


def rater_of_column(column: str) -> str | None:
    """The rater in a column's name: ``rater1`` in ``pace_rater1``; None unless the name has a dimension and a rater."""
    match = _RATER_COLUMN.fullmatch(column)
    return match.group("rater") if match and match.group("field") else None


def text_of(row: Row, spec: str) -> str:
    """The text of a role in a row: the value of a column, or a text in which values replace ``{column}``."""
    if "{" not in spec:
        return plain_text(row.get(spec))
    return _PLACEHOLDER.sub(lambda match: plain_text(row.get(match[1])), spec)


def _columns_of(spec: str) -> list[str]:
    return _PLACEHOLDER.findall(spec) if "{" in spec else [spec]


def plain_text(value: Any) -> str:
    """A cell as text: a whole float without decimals, a missing value as an empty text."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


class ColumnReader:
    """Finds the meaning of a table's columns, and collects problems and ambiguities."""

    def __init__(self, table: Table, settings: ImporterConfig, file: Path) -> None:
        self.table, self.settings, self.file = table, settings, file
        derived = dict.fromkeys(key for row in table.rows for key in row.derived)
        self.columns = list(dict.fromkeys([*table.columns, *derived]))
        self.scores = ScoreReader(settings)
        self.meaning = Meaning()
        self.problems: list[Problem] = []

    def read(self) -> Meaning:
        """The meaning; `problems` then lists errors, and ambiguities that the settings have to resolve."""
        self._read_roles()
        self._read_dimensions()
        self._require(self.settings.ignore, "importer.ignore")
        not_guessed = () if self.settings.dimensions is None else ("question", "score")
        for role in NAMES:
            if role not in self.meaning.roles and role not in not_guessed:
                self._guess_role(role)
        for key in KEPT_KEYS:
            if key in self.columns and key not in self.meaning.roles:
                self._set(key, key)
        roles = self.meaning.roles.items()
        self.meaning.roles = {role: spec for role, spec in roles if spec != NO_COLUMN}
        if not self.meaning.roles.get("clip") and not self.problems:
            self._guess_clip_by_values()
        if self.meaning.is_long:
            self._check_long()
        elif self.settings.dimensions is None and not self.problems:
            self._guess_dimensions()
        return self.meaning

    def report(self, problem: str, fix: str, column: str | None = None) -> None:
        """Add a problem of the whole table."""
        self.problems.append(in_file(self.file, problem, fix, column))

    def _read_roles(self) -> None:
        for role, spec in self.settings.columns.items():
            if spec is None:
                continue
            if role not in ROLES:
                hint = near_match_hint(role, ROLES, 0.6)
                problem = f"importer.columns.{role} is not a role.{hint}"
                self.report(problem, f"use {', '.join(ROLES)}")
                continue
            if str(spec) != NO_COLUMN:
                self._require(_columns_of(str(spec)), f"importer.columns.{role}")
            self.meaning.roles[role] = str(spec)

    def _read_dimensions(self) -> None:
        dimensions = self.settings.dimensions
        if dimensions is None:
            return
        if isinstance(dimensions, Sequence) and not isinstance(dimensions, str):
            dimensions = {str(name): str(name) for name in dimensions}
        if not isinstance(dimensions, Mapping):
            problem = f"importer.dimensions={dimensions!r} is neither a list nor a mapping"
            self.report(problem, "write [A,B]")
            return
        for name, spec in dimensions.items():
            where = f"importer.dimensions.{name}"
            if spec is None:
                continue
            if isinstance(spec, Mapping):
                known = {key: str(spec[key]) for key in ("mean", "std", "n") if spec.get(key)}
                self.meaning.means[str(name)] = known
                self._require([str(column) for column in spec.values() if column], where)
                continue
            columns = (str(spec),) if isinstance(spec, str) else tuple(map(str, spec))
            self.meaning.dimensions[str(name)] = columns
            self._require(columns, where)

    def _require(self, names: Sequence[str], where: str) -> None:
        for name in names:
            if name not in self.columns:
                hint = near_match_hint(name, self.columns, 0.6)
                problem = f"{where} names a column that is absent.{hint}"
                self.report(problem, self._columns_text(), name)

    def _columns_text(self) -> str:
        return f"the columns are {', '.join(self.columns)}"

    def _used(self) -> set[str]:
        meaning = self.meaning
        used = {column for columns in meaning.dimensions.values() for column in columns}
        for of_mean in meaning.means.values():
            used |= set(of_mean.values())
        for spec in meaning.roles.values():
            used |= set(_columns_of(spec))
        return used | set(self.settings.ignore)

    def _guess_role(self, role: str) -> None:
        free = [name for name in self.columns if name not in self._used()]
        fitting = [name for name in free if _plain_name(name) in NAMES[role]]
        if role == "clip" and len(fitting) > 1:
            of_audio = [name for name in fitting if self._share(name, _is_audio_name) == 1]
            fitting = of_audio or fitting
        if len(fitting) == 1:
            self._set(role, fitting[0])
        elif fitting:
            fix = f"set importer.columns.{role}={fitting[0]} (or another; none: no such column)"
            self.report(f"{' and '.join(fitting)} can each be the {role}", fix)

    def _set(self, role: str, column: str) -> None:
        self.meaning.roles[role] = column
        self.meaning.guessed.add(role)

    def _guess_clip_by_values(self) -> None:
        names = [name for name in self.columns if self._share(name, _is_audio_name) == 1]
        if len(names) == 1:
            self._set("clip", names[0])
            return
        several = f"{' and '.join(names)} all name audio files"
        problem = several if names else "no column names the clip"
        self.report(problem, f"set importer.columns.clip=COLUMN; {self._columns_text()}")

    def _share(self, column: str, test: Any) -> float:
        """The share of a column's non-missing cells that pass a test; 0 if all cells are missing."""
        cells = [row.get(column) for row in self.table.rows]
        cells = [cell for cell in cells if not self.scores.is_missing(cell)]
        return sum(bool(test(cell)) for cell in cells) / len(cells) if cells else 0.0

    def _number_columns(self) -> list[str]:
        """The columns without a role in which at least half of the cells are numbers."""
        return [
            name
            for name in self.columns
            if name not in self._used()
            and not _NOT_RATINGS.fullmatch(name)
            and self._share(name, _numbers) >= 0.5
        ]

    def _check_long(self) -> None:
        """Report a guessed score if further columns hold numbers: each of them may be a dimension."""
        further = self._number_columns()
        if "score" in self.meaning.guessed and "question" not in self.meaning.roles and further:
            score = self.meaning.roles["score"]
            fix = (
                f"set importer.columns.score={score}, or importer.dimensions=[{score},{','.join(further)}] if each "
                "is a dimension"
            )
            self.report(f"{score} and {' and '.join(further)} hold numbers", fix)

    def _guess_dimensions(self) -> None:
        numeric = self._number_columns()
        single: list[str] = []
        by_rater: dict[str, list[str]] = {}
        for name in numeric:
            if match := _RATER_COLUMN.fullmatch(name):
                dimension = match["field"] or self.settings.name or "rating"
                by_rater.setdefault(dimension, []).append(name)
            else:
                single.append(name)
        low, high = _GUESSED_RANGE
        for name in single:
            cells = (row.get(name) for row in self.table.rows)
            numbers = [
                n for cell in cells if not self.scores.is_missing(cell) for n in _numbers(cell)
            ]
            if not all(low <= number <= high for number in numbers):
                fix = f"name the ratings, importer.dimensions=[{','.join(single)}], or importer.ignore=[{name}]"
                self.report(f"holds numbers outside {low} to {high}: is it a rating?", fix, name)
        if by_rater and single:
            fix = "set importer.dimensions=…, or importer.ignore=[…]"
            self.report(f"{', '.join(single)} and columns for each rater hold numbers", fix)
        self._report_numbered(single)
        if not numeric:
            fix = f"set importer.dimensions=[…] or importer.columns.score=…; {self._columns_text()}"
            self.report("no column holds ratings", fix)
        self.meaning.dimensions = {name: (name,) for name in single}
        self.meaning.dimensions |= {name: tuple(columns) for name, columns in by_rater.items()}
        self.meaning.guessed |= set(self.meaning.dimensions)

    def _report_numbered(self, names: Sequence[str]) -> None:
        """Report columns that differ only in a number: they may belong to raters or to dimensions."""
        by_stem: dict[str, list[str]] = {}
        for name in names:
            if match := _NUMBERED.fullmatch(name):
                by_stem.setdefault(match.group("stem").casefold(), []).append(name)
        for columns in by_stem.values():
            if len(columns) > 1:
                listed = ",".join(columns)
                fix = (
                    f"set importer.dimensions=[{listed}] for dimensions, or 'importer.dimensions={{rating: [{listed}]}}' "
                    "for raters"
                )
                columns_text = ", ".join(columns)
                problem = f"{columns_text}: one column for each rater, or for each dimension?"
                self.report(problem, fix)


def _numbers(cell: Any) -> list[float]:
    """The numbers in a cell, which may hold a list; empty for other cells."""
    items = [item for item in cell if item is not None] if isinstance(cell, list) else [cell]
    if not all(map(looks_numeric, items)):
        return []
    return [float(str(item).strip().replace(",", ".")) for item in items]


def _plain_name(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _is_audio_name(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower().endswith(AUDIO_ENDINGS)
