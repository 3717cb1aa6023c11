"""What a task expects of its records: which texts, which annotation fields, on which scale."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AnnotationField:
    """A list of ratings in a record, one value a rater, on the whole numbers from `low` to `high`.

    A pass/fail field has the scale 0-1 and may hold booleans. A field that is not `required` may
    be absent from a record.
    """

    name: str
    low: float
    high: float
    required: bool = True

    @property
    def is_pass_fail(self) -> bool:
        """Whether booleans are allowed as ratings."""
        return (self.low, self.high) == (0, 1)


@dataclass(frozen=True, kw_only=True)
class ChoiceField:
    """A multiple-choice question: the keys of its list of options and of the right one's number, from 0."""

    options: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class RecordFormat:
    """The keys a task reads from each record; every other key is kept and ignored.

    With `annotated=False` (records to be scored) ratings may be absent; those given are still
    checked. `audio_field` is the key that holds the clip's path. With `heard=False` (judges that only
    read) clips are not looked up, and need not be there. Records of a `choice` may have whole numbers as
    ids.
    """

    text_fields: tuple[str, ...]
    annotation_fields: tuple[AnnotationField, ...] = ()
    annotated: bool = True
    audio_field: str = "wav_path"
    heard: bool = True
    choice: ChoiceField | None = None
