"""Reads the items of a request from its body: JSON, or a form with files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from dramaeval.serving.clips import RequestError, Upload, from_base64
from dramaeval.serving.intake import Intake, Item
from dramaeval.serving.schemas import Body, CompareBody, RewardBody, ScoreBody

Items = tuple[list[Item], list[str] | None]


async def _json(request: Request, body: type[Body]) -> Any:
    """Parse a JSON body; raises RequestError, which lists all problems of the body, by key."""
    try:
        return body.model_validate_json(await request.body())
    except ValidationError as error:
        raise RequestError(
            [
                f"{'.'.join(map(str, problem['loc'])) or 'The body'}: {problem['msg']}."
                for problem in error.errors(include_url=False, include_input=False)
            ]
        ) from None


def _is_form(request: Request) -> bool:
    """Whether the body is a form and not JSON; raises RequestError for other content types."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/json"):
        return kind == "multipart/form-data"
    text = f"Content-Type is {kind or 'missing'}: send application/json or multipart/form-data."
    raise RequestError([text], status=415)


async def _form(
    request: Request, max_files: int, names: set[str]
) -> tuple[list[tuple[str, Upload]], dict[str, Any], list[str] | None]:
    """The files of a form, each with the name of its field; the texts by name; and the dimensions of the answer.

    A field that occurs once is one text for all clips; other fields are lists.

    Raises:
        RequestError: the form cannot be read, has too many files, or a file is in a field that is not among ``names``.
    """
    files: list[tuple[str, Upload]] = []
    texts: dict[str, list[str]] = {}
    try:
        async with request.form(max_files=max_files) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    content = await value.read()
                    files.append((name, Upload(content, value.filename or f"{name}[{len(files)}]")))
                else:
                    texts.setdefault(name, []).append(value)
    except HTTPException as error:
        if error.detail.startswith("Too many files"):
            text = f"More than {max_files} clips in one request (serve.max_clips)."
            raise RequestError([text], status=413) from None
        raise RequestError([f"The form cannot be read: {error.detail}"], 422) from None
    dimensions = None
    if "dimensions" in texts:
        listed = ",".join(texts.pop("dimensions")).split(",")
        dimensions = [name.strip() for name in listed if name.strip()]
    if unknown := sorted({name for name, _ in files} - names):
        fields = " and ".join(sorted(names))
        raise RequestError([f"Files in the fields {', '.join(unknown)}: they belong in {fields}."])
    single = {name: values[0] if len(values) == 1 else values for name, values in texts.items()}
    return files, single, dimensions


def _texts_of(texts: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The texts of each clip; a text is given once for all clips, or as a list with a text for each clip.

    Raises:
        RequestError: a list has another length.
    """
    lists = {
        name: text if isinstance(text, list) else [text] * count for name, text in texts.items()
    }
    problems = [
        f"texts.{name} has {len(values)} texts for {count} clips: give one for all, or one for each."
        for name, values in lists.items()
        if len(values) != count
    ]
    if problems:
        raise RequestError(problems)
    return [{name: values[number] for name, values in lists.items()} for number in range(count)]


async def scored_items(request: Request, max_clips: int) -> Items:
    """The items of ``POST /v1/score`` and the dimensions of its answer.

    Raises:
        RequestError: lists the problems of the body.
    """
    if _is_form(request):
        files, texts, dimensions = await _form(request, max_clips, {"file"})
        pairs = zip(files, _texts_of(texts, len(files)), strict=True)
        return [Item((file,), of_clip, file.where) for (_, file), of_clip in pairs], dimensions
    body: ScoreBody = await _json(request, ScoreBody)
    if (body.audio is None) == (not body.clips):
        raise RequestError(["Give audio, one clip, or clips, a list of clips."])
    if body.audio is not None:
        clip = from_base64(body.audio, "audio")
        return [Item((clip,), body.texts, "audio")], body.dimensions
    items = []
    for number, entry in enumerate(body.clips):
        clip = from_base64(entry.audio, f"clips[{number}].audio")
        items.append(Item((clip,), {**body.texts, **entry.texts}, f"clips[{number}]"))
    return items, body.dimensions


async def compared_items(request: Request, max_clips: int) -> Items:
    """The items of ``POST /v1/compare``, with two clips each, and the dimensions of its answer.

    Raises:
        RequestError: lists the problems of the body.
    """
    if _is_form(request):
        files, texts, dimensions = await _form(request, max_clips, {"a", "b"})
        by_name = dict(files)
        if len(files) != 2 or len(by_name) != 2:
            raise RequestError(["A comparison needs two files, in the fields a and b."])
        return [Item((by_name["a"], by_name["b"]), texts, "texts")], dimensions
    body: CompareBody = await _json(request, CompareBody)
    is_single = body.a is not None and body.b is not None
    if is_single == bool(body.pairs) or (not is_single and (body.a or body.b)):
        raise RequestError(["Give a and b, two clips, or pairs, a list of pairs."])
    if is_single:
        clips = tuple(from_base64(getattr(body, name) or "", name) for name in ("a", "b"))
        return [Item(clips, body.texts, "texts")], body.dimensions
    items = []
    for number, pair in enumerate(body.pairs):
        where = f"pairs[{number}]"
        clips = tuple(from_base64(getattr(pair, name), f"{where}.{name}") for name in ("a", "b"))
        items.append(Item(clips, {**body.texts, **pair.texts}, where))
    return items, body.dimensions


async def rewarded_items(request: Request, intake: Intake) -> tuple[RewardBody, list[Item]]:
    """The body of ``POST /v1/reward`` and its items.

    Raises:
        RequestError: lists the problems of the body.
    """
    body: RewardBody = await _json(request, RewardBody)
    if (body.completions is None) == (body.solution_str is None):
        raise RequestError(["Give completions, a list of clips, or solution_str, one clip."])
    if body.solution_str is not None:
        (texts,) = _texts_of({**body.texts, **intake.known_texts(body.extra_info or {})}, 1)
        clip = from_base64(body.solution_str, "solution_str")
        return body, [Item((clip,), texts, "solution_str")]
    completions = body.completions or []
    items = []
    for number, texts in enumerate(_texts_of(body.texts, len(completions))):
        completion = completions[number]
        audio = completion if isinstance(completion, str) else completion.audio
        where = f"completions[{number}]"
        items.append(Item((from_base64(audio, where),), texts, where))
    return body, items
