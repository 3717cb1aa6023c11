"""Scores records with a model behind an endpoint: the questions of `dramaeval.evaluation.scoring`, asked over HTTP."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from dramaeval.data.audio import UnreadableClipError, decode
from dramaeval.data.inline_audio import INLINE, clip_samples
from dramaeval.data.problems import BadRecordsError
from dramaeval.data.records import Record
from dramaeval.evaluation.endpoint.answers import UnreadableAnswerError, from_logprobs, from_samples
from dramaeval.evaluation.endpoint.client import ChatClient, NoReplyError, RefusedRequestError
from dramaeval.evaluation.endpoint.reply import Completion, Reply
from dramaeval.evaluation.record_reply import AnyPrediction, RecordReply
from dramaeval.tasks.processed_records import audio_of
from dramaeval.tasks.question import LEAD, Question

log = logging.getLogger(__name__)

#: Sampling rate of the clips that are sent, in Hz.
RATE = 16_000
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Answer:
    """The answer to one question.

    Attributes:
        rows: for each field the distribution over its choices, ``[choices]``.
        reason: why the question has no distributions; None if it has.
        thought: the model's text before the answer.
    """

    rows: list[np.ndarray]
    reason: str | None = None
    thought: str = ""


class EndpointJudge:
    """A model behind an endpoint, as a judge.

    Args:
        client: sends the requests.
        max_seconds: clips are cut at this length.
        seed: seed of the sampled answers.
    """

    def __init__(self, client: ChatClient, *, max_seconds: float, seed: int) -> None:
        self.client = client
        self.model = client.model
        self.max_seconds = max_seconds
        self.seed = seed
        self._has_logprobs = self.model.answers != "samples"
        self._clips = lru_cache(maxsize=4 * self.model.concurrency)(self._encoded_file)

    def score(
        self,
        records: Sequence[Record],
        encoder: Any,
        *,
        group_by: str,
        skip_unreadable: bool = False,
        progress: Progress | None = None,
        keep_thoughts: bool = False,
    ) -> list[AnyPrediction]:
        """Score records on every dimension of their task; arguments as in `scoring.score`.

        A question without a readable answer is left unscored with the reason.

        Raises:
            BadRecordsError: a clip cannot be decoded, unless ``skip_unreadable``.
            EndpointError: the endpoint cannot be used.
        """
        replies = [
            RecordReply(record, encoder, group_by, keep_thoughts=keep_thoughts)
            for record in records
        ]
        pool = ThreadPoolExecutor(self.model.concurrency, thread_name_prefix="endpoint")
        try:
            waiting = [
                [pool.submit(self.answer, reply.record, question) for question in reply.questions]
                for reply in replies
            ]
            predictions: list[AnyPrediction] = []
            for reply, futures in zip(replies, waiting, strict=True):
                try:
                    _take(reply, [future.result() for future in futures])
                except BadRecordsError as error:
                    if not skip_unreadable:
                        raise
                    reply.reason = f"unreadable clip: {error.problems[0].problem}"
                predictions += reply.predictions()
                if progress:
                    progress(1)
            return predictions
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def answer(self, record: Record, question: Question) -> Answer:
        """Ask one question.

        Raises:
            BadRecordsError: a clip of the record cannot be decoded.
            EndpointError: the endpoint cannot be used.
        """
        messages = self._messages(record, question)
        try:
            if self._has_logprobs and (answer := self._by_logprobs(messages, question)):
                return answer
            if self.model.answers == "logprobs":
                return Answer([], "the endpoint gives no usable logprobs (model.answers=logprobs)")
            return self._by_samples(messages, question)
        except (UnreadableAnswerError, NoReplyError, RefusedRequestError) as error:
            return Answer([], str(error))

    def _by_logprobs(self, messages: list[dict[str, Any]], question: Question) -> Answer | None:
        """Ask once with logprobs; None if the logprobs do not give the distributions."""
        try:
            top = self.model.top_logprobs
            reply = self._ask(messages, temperature=0, logprobs=True, top_logprobs=top)
        except RefusedRequestError as error:
            if self.model.answers != "auto" or "logprobs" not in str(error):
                raise
            self._without_logprobs(str(error))
            return None
        completion = reply.completions[0]
        if not completion.tokens:
            if completion.reason:
                raise UnreadableAnswerError(completion.reason)
            if self.model.answers == "auto":
                self._without_logprobs("its replies have none")
            return None
        rows = from_logprobs(completion, question.answer_fields)
        return None if rows is None else Answer(rows, thought=_thought(completion))

    def _ask(self, messages: list[dict[str, Any]], number: int = 0, **settings: Any) -> Reply:
        limit = {self.model.max_tokens_field: self.model.max_tokens}
        return self.client.ask({"messages": messages, **limit, **settings}, number)

    def _without_logprobs(self, reason: str) -> None:
        if self._has_logprobs:
            log.info(
                "%s gives no logprobs (%s): each question is answered %d times, and the distribution is the share of "
                "the answers (model.samples).",
                self.model.path,
                reason,
                self.model.samples,
            )
        self._has_logprobs = False

    def _by_samples(self, messages: list[dict[str, Any]], question: Question) -> Answer:
        """Ask for sampled answers: repeatedly, because some endpoints return fewer answers than ``n``."""
        completions: list[Completion] = []
        while (missing := self.model.samples - len(completions)) > 0:
            seed, number = self.seed + len(completions), len(completions)
            temperature = self.model.temperature
            reply = self._ask(messages, number, temperature=temperature, n=missing, seed=seed)
            completions += reply.completions[:missing]
        rows, unreadable = from_samples(completions, question.answer_fields)
        self.client.usage.count(unreadable_samples=unreadable)
        return Answer(rows, thought=_thought(completions[0]))

    def _messages(self, record: Record, question: Question) -> list[dict[str, Any]]:
        """The question's chat messages in the form of the protocol."""
        # A single audio part is the record's clip. The prompt of a processed record may leave its path out, or name it
        # relative to the JSONL file.
        single = record.clip_b is None and len(audio_of(question.messages)) == 1
        clip = str(record.clip) if single else None
        return [
            {**message, "content": self._content(record, message["content"], clip)}
            for message in question.messages
        ]

    def _content(self, record: Record, content: Any, clip: str | None) -> Any:
        """The content of a message; ``clip`` is the path of its audio part, None if the parts name their own."""
        if isinstance(content, str):
            return content
        return [
            {
                "type": "input_audio",
                "input_audio": {
                    "data": self._clip(record, clip or part["audio_url"]),
                    "format": "wav",
                },
            }
            if part.get("type") == "audio"
            else {"type": "text", "text": part["text"]}
            for part in content
        ]

    def _clip(self, record: Record, path: str) -> str:
        """A clip as WAV in base64."""
        if record.clip == INLINE:
            return _encoded(clip_samples(record, RATE, self.max_seconds))
        try:
            return self._clips(path)
        except UnreadableClipError as error:
            key = "clip" if record.clip_b is None else f"clip {Path(path).name}"
            raise BadRecordsError([record.problem(key, error.reason, error.fix)]) from None

    def _encoded_file(self, path: str) -> str:
        return _encoded(decode(path, RATE, max_seconds=self.max_seconds))


def _encoded(waveform: np.ndarray) -> str:
    file = io.BytesIO()
    soundfile.write(file, np.clip(waveform, -1.0, 1.0), RATE, format="WAV", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode("ascii")


def _thought(completion: Completion) -> str:
    return completion.text.rpartition(LEAD)[0].strip()


def _take(reply: RecordReply, answers: Sequence[Answer]) -> None:
    """Set the values, thoughts and failures of a record from the answers to its questions."""
    values: list[np.ndarray] = []
    for number, (question, answer) in enumerate(zip(reply.questions, answers, strict=True)):
        if answer.reason is not None:
            reply.failed[number] = answer.reason
            values += [np.full(len(field.choices), np.nan) for field in question.answer_fields]
            if question.pair:  # the comparison of a pair needs all answers
                reply.reason = answer.reason
        else:
            values += answer.rows
    reply.values = values
    if any(question.generates_thought for question in reply.questions):
        reply.thoughts = [answer.thought for answer in answers]
