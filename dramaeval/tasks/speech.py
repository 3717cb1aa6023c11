"""Ratings of any speech: only the clip, or also texts that some records have, such as a transcript."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dramaeval.data.records import Record, RecordFormat
from dramaeval.tasks.rubric import text_problem
from dramaeval.tasks.task import Task
from dramaeval.tasks.templates import names_in


class SpeechTask(Task):
    """A task whose context has lines that records may lack.

    Args:
        optional_context: templates with text fields of a record, one for each line, such as
            ``Transcript: {transcript}``. If a record lacks a field of a line, the line is left out. The lines follow
            ``context``, which may be empty, and whose fields are required.
        kwargs: further arguments of `Task`.
    """

    def __init__(self, *, optional_context: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        problems = [problem for line in optional_context if (problem := text_problem(line))]
        if isinstance(optional_context, str) or problems:
            raise ValueError(
                f"task.optional_context={optional_context} must be a list of texts, such as "
                '["Transcript: {transcript}"].'
            )
        where = "task.optional_context"
        self.optional_lines = {line: names_in(line, where) for line in optional_context}
        names = [name for names in self.optional_lines.values() for name in names]
        self.optional_text_fields = tuple(
            name for name in dict.fromkeys(names) if name not in self.text_fields
        )

    def record_format(self, *, annotated: bool = True) -> RecordFormat:
        """The keys of `Task`, and the optional texts."""
        fmt = super().record_format(annotated=annotated)
        return replace(fmt, optional_texts=(*fmt.optional_texts, *self.optional_text_fields))

    def remarks(self, records: Sequence[Record]) -> dict[str, int]:
        """The number of records without an optional text, for each text that other records have."""
        counts = {
            name: sum(not record.text(name) for record in records)
            for name in self.optional_text_fields
        }
        return super().remarks(records) | {
            f'have no "{name}", so that their questions lack its line': count
            for name, count in counts.items()
            if 0 < count < len(records)
        }

    def context_text(self, record: Record) -> str:
        """The context, and the optional lines whose texts the record has."""
        lines = [super().context_text(record)] if self.context else []
        for line, names in self.optional_lines.items():
            values = {name: record.text(name) for name in names}
            if all(values.values()):
                lines.append(line.format(**values))
        return "\n".join(lines)

    def texts(self, record: Record) -> dict[str, str]:
        """The required texts, and the optional texts that the record has."""
        optional = {name: record.text(name) for name in self.optional_text_fields}
        return super().texts(record) | {name: text for name, text in optional.items() if text}

    def wording_texts(self) -> dict[str, list[str]]:
        """The texts of `Task`, and the optional lines."""
        return super().wording_texts() | {"task.optional_context": list(self.optional_lines)}
