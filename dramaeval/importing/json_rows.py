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
from dramaeval.importing.problems import BadSourceError
from dramaeval.importing.rows import Row, Table

#: Kinds of Label Studio results that hold one score.
_SCORES = ("rating", "number", "choices")
_LOCAL = re.compile(r"^/data/local-files/\?d=")


def read_jsonl(file: Path, settings: ImporterConfig, clips: AudioFolder) -> Table:
    """Read JSON Lines; keys of nested objects become columns with a dot, such as ``annotations.warmth``.

    Raises:
        BadSourceError: the file is not JSON Lines.
    """
    try:
        lines = read_lines(file)
    except UnreadableFileError as error:
        _, problem, fix = error.finding
        raise BadSourceError.of_file(file, problem, fix) from None
    table = Table()
    for line in lines:
        values = line.fields or {}
        row = Row(file=file, number=line.number, values=values, derived=dict(_inner(values)))
        table.append(row)
        table.problems += [row.problem(*finding) for finding in line.findings]
    return table


def read_json_object(file: Path) -> Table:
    """Read a JSON object of objects; its keys become the column ``key``.

    Raises:
        BadSourceError: the file has another form.
    """
    fix = "give a JSON object with one object for each clip"
    content = _json(file, fix)
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise BadSourceError.of_file(file, "not an object of objects", fix)
    table = Table()
    for number, (key, values) in enumerate(content.items(), 1):
        table.append(Row(file=file, number=number, values={"key": key, **values}))
    return table


def _json(file: Path, fix: str) -> Any:
    try:
        return json.loads(read_regular(file).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadSourceError.of_file(file, f"not JSON: {error}", fix) from None


def _inner(values: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _inner(value, f"{where}{name}.")
        elif where:
            yield f"{where}{name}", value


def read_label_studio(file: Path, settings: ImporterConfig, clips: AudioFolder) -> Table:
    """Read Label Studio's JSON export: one row for each rating, number or single choice, in order.

    Cancelled annotations and other kinds of results are counted in the notices.

    Raises:
        BadSourceError: the file is not an export of Label Studio, or has no scores.
    """
    table = Table(columns=["task", "clip", "completed_by", "from_name", "score"])
    unread: Counter[str] = Counter()
    for task in _tasks(file):
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
                table.append(Row(file=file, number=len(table.rows) + 1, values=values))
    table.notices = [f"{counted(count, kind)} not read." for kind, count in unread.items()]
    if not table.rows:
        fix = "export tasks with annotations of type Rating, Number or Choices"
        raise BadSourceError.of_file(file, "no annotation holds a score", fix)
    return table


def _tasks(file: Path) -> list[dict[str, Any]]:
    fix = "export the project from Label Studio as JSON (not JSON-MIN), or set importer.format"
    tasks = _json(file, fix)
    valid = isinstance(tasks, list) and all(isinstance(t, dict) and "data" in t for t in tasks)
    if not valid or not tasks:
        raise BadSourceError.of_file(file, "not a list of Label Studio's tasks", fix)
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
