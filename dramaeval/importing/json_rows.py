"""Reads JSON Lines with one clip per line, and Label Studio's export."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.data.files import read_regular
from dramaeval.data.jsonl import UnreadableFileError, read_lines
from dramaeval.data.problems import counted
from dramaeval.importing.extracted_audio import AudioFolder
from dramaeval.importing.problems import BadSourceError, in_file
from dramaeval.importing.rows import Row, Table

#: Kinds of Label Studio results that hold one score.
_SCORES = ("rating", "number", "choices")
_LOCAL = re.compile(r"^/data/local-files/\?d=")


def read_jsonl(file: Path, settings: ImporterConfig, clips: AudioFolder) -> Table:
    """Read JSON Lines; keys of nested objects become columns with a dot, such as ``annotations.warmth``.

    Args:
        file: the file.
        settings: not used.
        clips: not used.

    Raises:
        BadSourceError: the file is not JSON Lines.
    """
    try:
        lines = read_lines(file)
    except UnreadableFileError as error:
        finding = error.finding
        raise BadSourceError([in_file(file, finding.problem, finding.fix)]) from None
    table = Table(columns=[], rows=[])
    for line in lines:
        values = line.fields or {}
        derived = dict(_inner(values))
        row = Row(file=file, number=line.number, values=values, derived=derived)
        table.problems += [row.problem(f.key, f.problem, f.fix) for f in line.findings]
        table.rows.append(row)
        table.columns += [name for name in (*values, *derived) if name not in table.columns]
    return table


def read_json_object(file: Path) -> Table:
    """Read a JSON object of objects; its keys become the column ``key``.

    Raises:
        BadSourceError: the file has another form.
    """
    fix = "give a JSON object with one object for each clip"
    try:
        content = json.loads(read_regular(file).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadSourceError([in_file(file, f"not JSON: {error}", fix)]) from None
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise BadSourceError([in_file(file, "not an object of objects", fix)])
    rows = [
        Row(file=file, number=number, values={"key": key, **values})
        for number, (key, values) in enumerate(content.items(), 1)
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row.values))
    return Table(columns=columns, rows=rows)


def _inner(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _inner(value, f"{where}{name}.")
        elif where:
            yield f"{where}{name}", value


def read_label_studio(file: Path, settings: ImporterConfig, clips: AudioFolder) -> Table:
    """Read Label Studio's JSON export: one row for each rating, number or single choice, in order.

    Cancelled annotations and other kinds of results are counted in the notices.

    Args:
        file: the export.
        settings: not used.
        clips: not used.

    Raises:
        BadSourceError: the file is not an export of Label Studio, or has no scores.
    """
    tasks = _tasks(file)
    table = Table(columns=["task", "clip", "completed_by", "from_name", "score"], rows=[])
    unread: Counter[str] = Counter()
    for task in tasks:
        for annotation in task.get("annotations") or []:
            if annotation.get("was_cancelled"):
                unread["cancelled annotation"] += 1
                continue
            for result in annotation.get("result") or []:
                score = _score(result)
                if score is None:
                    unread[f"result of type {result.get('type')}"] += 1
                    continue
                values = _values(task, annotation, result, score)
                table.rows.append(Row(file=file, number=len(table.rows) + 1, values=values))
                table.columns += [name for name in values if name not in table.columns]
    table.notices = [f"{counted(count, kind)} not read." for kind, count in unread.items()]
    if not table.rows:
        fix = "export tasks with annotations of type Rating, Number or Choices"
        raise BadSourceError([in_file(file, "no annotation holds a score", fix)])
    return table


def _tasks(file: Path) -> list[dict[str, Any]]:
    fix = "export the project from Label Studio as JSON (not JSON-MIN), or set importer.format"
    try:
        tasks = json.loads(read_regular(file).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadSourceError([in_file(file, f"not JSON: {error}", fix)]) from None
    valid = isinstance(tasks, list) and all(isinstance(t, dict) and "data" in t for t in tasks)
    if not valid or not tasks:
        raise BadSourceError([in_file(file, "not a list of Label Studio's tasks", fix)])
    return tasks


def _score(result: Mapping[str, Any]) -> Any:
    """The score of a result; None if it has no score or several choices."""
    value = (result.get("value") or {}).get(result.get("type"))
    if result.get("type") not in _SCORES:
        return None
    if isinstance(value, list):
        return value[0] if len(value) == 1 else None
    return value


def _values(
    task: Mapping[str, Any], annotation: Mapping[str, Any], result: Mapping[str, Any], score: Any
) -> dict[str, Any]:
    data = {str(key): value for key, value in task["data"].items()}
    audio = next((data[key] for key in ("audio", "wav", "clip", "file") if key in data), None)
    rater = annotation.get("completed_by")
    if isinstance(rater, Mapping):
        # Other exports have the number only; records should not hold an e-mail address.
        rater = rater.get("id") or rater.get("email")
    clip = None if audio is None else _LOCAL.sub("", str(audio))
    return {
        **data,
        "task": task.get("id"),
        "clip": clip,
        "completed_by": rater,
        "from_name": result.get("from_name"),
        "score": score,
    }
