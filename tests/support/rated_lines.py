"""Records as JSON objects, for tests of reading records."""

from __future__ import annotations

from typing import Any

from dramaeval.data.records import AnnotationField, RecordFormat

FORMAT = RecordFormat(
    text_fields=("transcript",),
    annotation_fields=(
        AnnotationField(name="pitch_variation", low=1, high=5),
        AnnotationField(name="dynamic_range", low=1, high=5),
        AnnotationField(name="content_pass", low=0, high=1, required=False),
    ),
)


def line(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A valid record for clip.wav with these changes; the value `...` removes a key."""
    record: dict[str, Any] = {
        "id": f"r{number}",
        "transcript": "Do that again.",
        "wav_path": "clip.wav",
        "annotations": {"pitch_variation": [1, 5, 3], "dynamic_range": [2, 2, 2]},
    }
    record.update(changes)
    return {key: value for key, value in record.items() if value is not ...}


def ratings(**changes: Any) -> dict[str, Any]:
    fields = {"pitch_variation": [1, 5, 3], "dynamic_range": [2, 2, 2]} | changes
    return {key: value for key, value in fields.items() if value is not ...}
