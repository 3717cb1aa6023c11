"""Turns the clips and texts of a request into jobs, and reports all problems of the request together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dramaeval.config.problems import near_match_hint
from dramaeval.config.task_schema import text_of
from dramaeval.serving.batching import Job
from dramaeval.serving.clips import ClipReader, RequestError, Upload
from dramaeval.tasks.pair import DIRECT, PairTask
from dramaeval.tasks.task import Task
from dramaeval.tasks.text_names import all_names, required_names
from dramaeval.tasks.thought import ThoughtTask

#: The name of the text before the score, as in `Judge.score`.
_THOUGHT = "thought"


@dataclass(frozen=True)
class Item:
    """A clip to score, or two clips to compare.

    Attributes:
        clips: the clip or the two clips.
        texts: their texts by name.
        where: their place in the request, for messages.
    """

    clips: tuple[Upload, ...]
    texts: Mapping[str, Any]
    where: str


class Intake:
    """Reads the items of requests for one judge.

    Args:
        judge: a `dramaeval.api.judge.Judge`.
        task: name of the task that is served.
        max_clips: the largest number of clips in a request.

    Attributes:
        task: the task that scores single clips.
        compared: the task that compares clips; the same task unless it is a `PairTask`.
        required, optional: the names of the texts that ``task`` needs or accepts.
        keys: the keys of the dimensions.
    """

    def __init__(self, judge: Any, task: str, *, max_clips: int = 32) -> None:
        self.compared: Task = judge.task(task)
        self.task: Task = self.compared if self.compares_directly else judge.task_of_clips(task)
        self.max_clips = max_clips
        data = judge.config.task.data
        self.reader = ClipReader(
            rate=judge.processor.feature_extractor.sampling_rate
            if judge.family.takes_audio
            else 16_000,
            max_seconds=float(data.max_seconds),
            trims=text_of(data.on_long) == "trim",
        )
        names = all_names(self.task)
        self.required = list(required_names(self.task).values())
        self.optional = [name for name in names.values() if name not in self.required]
        # A key of the records counts as a name too.
        self._names = names | {name: name for name in names.values()}
        if isinstance(self.task, ThoughtTask) and self.task.needs_thought:
            self.required.append(_THOUGHT)
            self._names[_THOUGHT] = _THOUGHT
        self.keys = [dimension.key for dimension in self.task.dimensions]

    @property
    def compares_directly(self) -> bool:
        """Whether both clips of a comparison are in one prompt."""
        return isinstance(self.compared, PairTask) and self.compared.by == DIRECT

    @property
    def outcome_parameters(self) -> tuple[float, float]:
        """The slope and the weight of ties that `Judge.compare` uses."""
        if isinstance(self.compared, PairTask):
            return self.compared.slope, self.compared.tie_weight
        return 1.0, 1.0

    def require_single_clips(self) -> None:
        """Raise RequestError if the judge only compares clips, with both clips in one prompt."""
        if self.compares_directly:
            text = (
                f"The task {self.task.name} compares two clips and scores none: POST /v1/compare."
            )
            raise RequestError([text])

    def chosen(self, dimensions: Sequence[str] | None) -> list[str]:
        """The dimensions of the answer; None means all.

        Raises:
            RequestError: a dimension is unknown.
        """
        unknown = [key for key in dimensions or () if key not in self.keys]
        if unknown:
            hint = near_match_hint(unknown[0], self.keys)
            raise RequestError(
                [f"{', '.join(unknown)}: not among the dimensions {', '.join(self.keys)}.{hint}"]
            )
        return list(dimensions or self.keys)

    def known_texts(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values that are texts of the task."""
        return {name: value for name, value in values.items() if name in self._names}

    def jobs(self, items: Sequence[Item]) -> list[Job]:
        """Decode the clips of items and make the jobs, in order: one per item, or one per clip of a pair.

        Raises:
            RequestError: lists the problems of all items.
        """
        count = sum(len(item.clips) for item in items)
        if not count:
            raise RequestError(["The request has no clip."])
        if count > self.max_clips:
            raise RequestError(
                [f"{count} clips in one request; at most {self.max_clips} (serve.max_clips)."],
                status=413,
            )
        jobs, problems, statuses = [], [], []
        for item in items:
            texts, text_problems = self._texts(item)
            problems += text_problems
            clips = []
            for upload in item.clips:
                try:
                    clips.append(self.reader.read(upload))
                except RequestError as error:
                    problems += error.problems
                    statuses.append(error.status)
            together = len(clips) == 1 or self.compares_directly
            parts = [tuple(clips)] if together else [(clip,) for clip in clips]
            jobs += [Job(clips=part, texts=texts) for part in parts]
        if problems:
            only_long = len(statuses) == len(problems) and set(statuses) == {413}
            raise RequestError(list(dict.fromkeys(problems)), status=413 if only_long else 422)
        return jobs

    def _texts(self, item: Item) -> tuple[dict[str, str], list[str]]:
        """The texts of an item by short name, and their problems."""
        texts: dict[str, str] = {}
        problems = []
        for name, text in item.texts.items():
            short = self._names.get(name)
            if short is None:
                known = [*self.required, *self.optional]
                problems.append(
                    f"{item.where}: {name} is not a text of the task {self.task.name}, which takes "
                    f"{', '.join(known) or 'none'}.{near_match_hint(name, known)}"
                )
            elif short in texts:
                problems.append(f"{item.where}: the text {short} is given twice.")
            elif not isinstance(text, str) or not text.strip():
                problems.append(f"{item.where}: {name} must be a text that is not empty.")
            else:
                texts[short] = text
        named = {self._names.get(name) for name in item.texts}
        missing = [name for name in self.required if name not in named]
        if missing:
            problems.append(
                f"{item.where}: missing text{'s' * (len(missing) > 1)}: {', '.join(missing)}."
            )
        return texts, problems
