"""A rubric: the ordered dimensions on which a record is rated, as data.

Rubrics are YAML files in ``configs/task/rubric/``. This module converts a rubric to objects and reports all its
problems together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dramaeval.data.record_format import AnnotationField
from dramaeval.tasks.scale import number_text, read_meanings, read_scale, shortened
from dramaeval.tasks.templates import equal_question_problems, template_problem

CLIP_CHANGES = ("gain", "silence", "mp3", "resampling", "noise", "speed")
"""Kinds of changes of a clip, see `dramaeval.evaluation.controls.invariance`."""
WORDING = (
    "question", "short_question", "score_line", "item", "together", "any_order", "reference_label", "candidate_label",
    "turns_label", "mean_rater_line", "rater_line",
)  # fmt: skip
_OF_DIMENSION = ("title", "label", "description", "scores", "low", "high")
_OF_ALL = ("items", "form")
#: The names that each template may hold in braces; the other texts of `WORDING` are no templates.
_NAMES = {
    "question": _OF_DIMENSION, "short_question": _OF_DIMENSION, "item": _OF_DIMENSION, "score_line": ("score", "meaning"),
    "together": _OF_ALL, "any_order": _OF_ALL, "rater_line": ("rater",),
}  # fmt: skip


class RubricError(ValueError):
    """The rubric cannot be used; the message lists every problem with its key.

    Attributes:
        rubric: name of the rubric.
    """

    def __init__(self, rubric: str, problems: Sequence[str]) -> None:
        self.rubric = rubric
        listed = "\n  ".join(sorted(problems))
        super().__init__(f"The rubric {rubric} cannot be used:\n  {listed}")


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One dimension on which a record is rated.

    Attributes:
        key: name in predictions and metrics, an identifier.
        annotation: field of a record's annotations with the ratings.
        title: name in the prompt.
        scale: the scores in the raters' unit, in rising order.
        description: a sentence about what the raters judged.
        scores: meaning of each explained score.
        answers: the text that the judge writes for each score; by default the number of the score.
        bins: whether the scores are bins of a finer scale (see `dramaeval.tasks.scale`).
        optional: whether a record may lack the annotation field.
        varies_with: changes of the clip, among `CLIP_CHANGES`, that may rightly change the score; the control
            invariance leaves them out of its verdict.
        reference: whether the clip is judged together with a reference (see `dramaeval.tasks.reference`).
    """

    key: str
    annotation: str
    title: str
    scale: tuple[float, ...]
    description: str
    scores: Mapping[float, str]
    answers: tuple[str, ...] = ()
    bins: bool = False
    optional: bool = False
    varies_with: tuple[str, ...] = ()
    reference: bool = False

    def __post_init__(self) -> None:
        if not self.answers:
            object.__setattr__(self, "answers", tuple(map(number_text, self.scale)))

    @property
    def label(self) -> str:
        """The name in an answer with several dimensions: the title in one word, such as PitchDynamics."""
        return "".join(word[:1].upper() + word[1:] for word in self.title.split())

    @property
    def whole(self) -> bool:
        """Whether ratings are whole numbers."""
        return not self.bins and all(score == int(score) for score in self.scale)

    @property
    def annotation_field(self) -> AnnotationField:
        """The format of the ratings in a record."""
        return AnnotationField(
            name=self.annotation,
            low=self.scale[0],
            high=self.scale[-1],
            required=not self.optional,
            whole=self.whole,
            points=tuple(map(float, self.scale)),
            labels=self.labels,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the points; empty for a scale of numbers."""
        numbers = tuple(map(number_text, self.scale))
        return () if self.bins or self.answers == numbers else self.answers

    @property
    def resolution(self) -> float | None:
        """The distance between two bins in the raters' unit; None without bins."""
        return self.scale[1] - self.scale[0] if self.bins else None

    @property
    def scale_note(self) -> str:
        """A note for readers of scores about a scale of labels or bins; empty for other scales."""
        ends = f"{number_text(self.scale[0])} to {number_text(self.scale[-1])}"
        if self.resolution:
            step = f"{self.resolution:g}"
            return (
                f"{self.title}: the scale {ends} is divided into {len(self.scale)} bins at a distance of {step}. A "
                "rating between two bins is shared by them, so that means are kept; distributions, accuracy and kappa "
                f"do not distinguish scores less than {step} apart."
            )
        if self.labels:
            return f"{self.title}: the scores {ends} stand for {shortened(self.labels)}."
        return ""

    @property
    def heading(self) -> str:
        """The title in results, with the resolution of a scale in bins."""
        return f"{self.title} (bins of {self.resolution:g})" if self.resolution else self.title

    def score_lines(self, template: str) -> list[str]:
        """A line for each explained score; and a line with all answers, if they are not consecutive numbers.

        Args:
            template: the template of a line, with ``{score}`` and ``{meaning}``.
        """
        pairs = list(zip(self.answers, self.scale, strict=True))
        meanings = dict(self.scores)
        if self.bins:
            meanings = {
                score: ", ".join(filter(None, [number_text(score), self.scores.get(score)]))
                for score in self.scale
            }
        lines = [
            template.format(score=answer, meaning=meanings[score])
            for answer, score in pairs
            if score in meanings
        ]
        counted = [str(int(self.scale[0]) + index) for index in range(len(self.scale))]
        if len(lines) < len(pairs) and list(self.answers) != counted:
            lines.append(shortened(self.answers))
        return lines


def changed_kinds(dimensions: Iterable[Dimension]) -> frozenset[str]:
    """The kinds of changes of a clip that may rightly change a score on any of these dimensions."""
    return frozenset(kind for dimension in dimensions for kind in dimension.varies_with)


@dataclass(frozen=True, kw_only=True)
class Rubric:
    """A versioned, ordered list of dimensions, with the templates of its questions.

    ``question`` asks for one dimension, ``short_question`` for one that the prompt has explained before,
    ``together`` and ``any_order`` for several dimensions in one question, each as
    an ``item``; ``score_line`` explains a score. They are templates in the rubric's language and have defaults, which
    hold the names that a template of their kind may hold, besides ``{label}``.
    ``reference_label`` and ``candidate_label`` are the labels of the two clips of a dimension with a reference.
    ``turns_label`` is before the turns of a conversation, and ``candidate_label`` after them. ``mean_rater_line`` and
    ``rater_line``, a template with ``{rater}``, are the lines of a listener model; the defaults are in
    `dramaeval.tasks.listeners`.
    """

    name: str
    version: str
    dimensions: tuple[Dimension, ...]
    language: str = "en"
    question: str = (
        "{title}: {description}\n{scores}\n"
        "Answer with one score from {low} to {high} as <answer>score</answer>."
    )
    short_question: str = (
        "{title}: answer with one score from {low} to {high} as <answer>score</answer>."
    )
    score_line: str = "{score}: {meaning}"
    item: str = "[{label}] {title}: {description}\n{scores}"
    together: str = "{items}\nAnswer with one score for each of these, in this order, as <answer>{form}</answer>."
    any_order: str = "{items}\nAnswer with one score for each of these, in any order, as <answer>{form}</answer>."
    reference_label: str = "The reference recording:"
    candidate_label: str = "The recording to judge:"
    turns_label: str = "The conversation before the recording:"
    mean_rater_line: str = ""
    rater_line: str = ""

    def __getitem__(self, key: str) -> Dimension:
        for dimension in self.dimensions:
            if dimension.key == key:
                return dimension
        keys = ", ".join(dimension.key for dimension in self.dimensions)
        raise KeyError(f"Rubric {self.name} has no dimension {key!r}; it has {keys}.")

    def criterion(self, dimension: Dimension, *, explained: bool = True) -> str:
        """The part of a prompt that asks for one dimension; `explanation` comes before it if it does not explain."""
        return self._filled(self.question if explained else self.short_question, dimension)

    def explanation(self, dimensions: Sequence[Dimension]) -> str:
        """The part of a prompt that explains dimensions and asks for none."""
        return "\n".join(self._filled(self.item, dimension) for dimension in dimensions)

    def criteria(self, dimensions: Sequence[Dimension], *, any_order: bool = False) -> str:
        """The part of a prompt that asks for several dimensions in one question."""
        template = self.any_order if any_order else self.together
        return template.format(
            items=self.explanation(dimensions),
            form="".join(f"[{dimension.label}]score" for dimension in dimensions),
        )

    def _filled(self, template: str, dimension: Dimension) -> str:
        scores = "\n".join(dimension.score_lines(self.score_line))
        if not scores:  # a scale without explanations must not leave an empty line
            template = template.replace("{scores}\n", "").replace("\n{scores}", "")
        return template.format(
            title=dimension.title,
            label=dimension.label,
            description=dimension.description,
            scores=scores,
            low=dimension.answers[0],
            high=dimension.answers[-1],
        )


def text_problem(value: Any) -> str | None:
    """Why a value of a YAML file is no text, and the fix; None if it is a text.

    YAML reads some words and numbers without quotes as other types: No and Off are false, 1.10 is 1.1, 1:30 is 90.
    """
    if isinstance(value, str):
        return None
    if value is None:
        return 'is empty: write a text, in quotes where it is "null" or "~"'
    if isinstance(value, bool):
        words = '"Yes", "On" or "true"' if value else '"No", "Off" or "false"'
        return (
            f"is a truth value ({str(value).lower()}), not a text: write it in quotes, as {words}"
        )
    if isinstance(value, int | float):
        return f"is the number {value}, not a text: write it in quotes"
    kinds: dict[type, str] = {list: "a list", tuple: "a list", dict: "a mapping"}
    return f"is {kinds.get(type(value), type(value).__name__)}, not a text: write it in quotes"


def text_problems(values: Mapping[Any, Any], keys: Iterable[Any], where: str) -> list[str]:
    """Problems of the values under these keys that are no texts, with the full name of the key; missing ones are valid."""
    return [
        f"{where}.{key} {problem}"
        for key in keys
        if not _is_missing(values, key) and (problem := text_problem(values[key]))
    ]


def _is_missing(values: Mapping[Any, Any], key: Any) -> bool:
    return values.get(key) in (None, "", [], {})


def read_rubric(data: Mapping[str, Any]) -> Rubric:
    """Build a rubric from the mapping of its YAML file.

    ``added_dimensions`` follow ``dimensions``: a file can extend the dimensions of another file in its defaults.

    Raises:
        RubricError: a key is missing or unknown, a text has another YAML type, a template holds unknown names, a
            dimension or a question appears twice, a key is not an identifier, a scale does not rise, or an explained
            score is not on the scale. All problems are listed.
    """
    required, texts = ("name", "version", "dimensions"), ("name", "version", "language", *WORDING)
    problems = [f"rubric.{key} is missing" for key in required if _is_missing(data, key)]
    problems += text_problems(data, texts, "rubric")
    templates = {key: text for key in _NAMES if isinstance(text := data.get(key), str) and text}
    problems += [
        f"rubric.{key} {problem}"
        for key, text in templates.items()
        if (problem := template_problem(text, _NAMES[key]))
    ]
    if (line := templates.get("rater_line")) and template_problem(line, ()) is None:
        problems.append("rubric.rater_line lacks {rater}, the name of the rater")
    dimensions = _read_dimensions(data, "dimensions", problems)
    dimensions += _read_dimensions(data, "added_dimensions", problems)
    keys = [dimension.key for dimension in dimensions]
    problems += [
        f"dimension {key} appears twice" for key in sorted(set(keys)) if keys.count(key) > 1
    ]
    allowed = {"dimensions", "added_dimensions", *texts}
    problems += [
        f"rubric.{key} is not known ({', '.join(sorted(allowed))})" for key in set(data) - allowed
    ]
    if problems:
        raise RubricError(str(data.get("name", "without a name")), problems)
    wording = {key: data[key] for key in ("language", *WORDING) if data.get(key)}
    rubric = Rubric(
        name=data["name"], version=data["version"], dimensions=tuple(dimensions), **wording
    )
    questions = {each.key: (rubric.criterion(each), each.reference) for each in dimensions}
    if problems := equal_question_problems(questions):
        raise RubricError(rubric.name, problems)
    return rubric


def dimension_settings(rubric: Mapping[str, Any]) -> list[Any]:
    """The settings of all dimensions in the mapping of a valid rubric."""
    return [*(rubric.get("dimensions") or []), *(rubric.get("added_dimensions") or [])]


def _read_dimensions(data: Mapping[str, Any], key: str, problems: list[str]) -> list[Dimension]:
    """The valid dimensions in a list of the rubric."""
    items = data.get(key) or []
    if not isinstance(items, list | tuple):
        problems.append(f"rubric.{key} is not a list")
        return []
    dimensions = []
    for position, item in enumerate(items):
        where = f"rubric.{key}[{position}]"
        if isinstance(item, Mapping):
            where += f" ({item.get('key', 'no key')})"
            dimension = _read_dimension(item, where, problems)
            dimensions += [dimension] if dimension else []
        else:
            problems.append(f"{where} is not a mapping")
    return dimensions


def _read_dimension(item: Mapping[str, Any], where: str, problems: list[str]) -> Dimension | None:
    texts = ("key", "annotation", "title", "description")
    missing = [name for name in (*texts, "scale") if _is_missing(item, name)]
    before = len(problems)
    problems += text_problems(item, texts[1:], where)
    allowed = [*texts, "scale", "bins", "scores", "optional", "varies_with", "reference"]
    problems += [
        f"{where}.{key} is not known ({', '.join(allowed)})" for key in item if key not in allowed
    ]
    if missing:
        problems.append(f"{where} lacks {', '.join(missing)}")
        return None
    if not isinstance(item["key"], str) or not item["key"].isidentifier():
        problems.append(
            f"{where}.key must be of letters, digits and underscores and not begin with a digit, such as "
            f"pitch_dynamics, got {item['key']!r}: it names the dimension in files; people read the title"
        )
    scale = read_scale(item["scale"], item.get("bins"), where, problems)
    if scale is None:
        return None
    meanings = read_meanings(item.get("scores"), scale, where, problems)
    if meanings is not None:
        problems += text_problems(meanings, meanings, f"{where}.scores")
        empty = [number_text(score) for score in meanings if _is_missing(meanings, score)]
        if empty:
            problems.append(
                f"{where}.scores has no meaning for {', '.join(empty)}: write one, or leave the score out"
            )
    if meanings is None or len(problems) > before:
        return None
    flags = {name: item.get(name, False) for name in ("optional", "reference")}
    problems += [
        f"{where}.{name} must be true or false, got {value!r}"
        for name, value in flags.items()
        if not isinstance(value, bool)
    ]
    varies_with = item.get("varies_with") or ()
    if isinstance(varies_with, str) or not set(varies_with) <= set(CLIP_CHANGES):
        problems.append(
            f"{where}.varies_with must be a list of {', '.join(CLIP_CHANGES)}, got {varies_with!r}"
        )
    return Dimension(
        scale=scale.points,
        answers=scale.answers,
        bins=scale.bins,
        varies_with=tuple(varies_with),
        **flags,
        scores=meanings,
        **{key: item[key] for key in texts},
    )


def texts_in(value: Any) -> Iterator[str]:
    """All texts in nested mappings and lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)
