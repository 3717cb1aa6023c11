"""A client of an OpenAI-compatible chat endpoint, with retries, a limit of the request rate and a cache."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx2

from dramaeval.config.home_folder import expand_home
from dramaeval.config.secrets import without_secrets
from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.data.problems import one_line
from dramaeval.evaluation.endpoint.reply import MalformedReplyError, Reply, read_reply
from dramaeval.evaluation.endpoint.usage import Usage
from dramaeval.models.api_model import ApiModel
from dramaeval.models.errors import ModelError

log = logging.getLogger(__name__)

#: Longest wait between two attempts, and the longest wait that an endpoint may ask for (Retry-After), in seconds.
LONGEST_WAIT, LONGEST_RETRY_AFTER = 60.0, 600.0
#: The run stops after this number of consecutive requests without a reply.
FAILURES_IN_A_ROW = 10
#: Status codes with which the endpoint would answer every request of the run; redirections (3xx) are others.
_STOPS = {401, 402, 403, 404, 405}
_TEMPORARY = {408, 409, 425, 429}


class EndpointError(ModelError):
    """The endpoint cannot be used; no further request is sent."""


class RefusedRequestError(Exception):
    """The endpoint refuses this request and would refuse it again; the message has the endpoint's reason."""


class NoReplyError(Exception):
    """All attempts failed; the message has the reason of the last failure."""


class ChatClient:
    """Sends requests to an endpoint; several threads may share a client.

    Args:
        model: the endpoint and the name of its model.
        usage: counts the requests.
        backoff: seconds before the second attempt; doubled before each further attempt.
    """

    def __init__(self, model: ApiModel, usage: Usage, *, backoff: float = 1.0) -> None:
        self.model = model
        self.usage = usage
        self.backoff = backoff
        self._key = model.key()
        self._pace = _Pace(model.requests_per_minute)
        self._failures = 0
        self._folder = expand_home(model.cache) if model.cache else None
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx2.Limits(max_connections=model.concurrency)
        self._http = httpx2.Client(headers=headers, timeout=model.timeout, limits=limits)
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # INFO logs a line for each request

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, fields: Mapping[str, Any], number: int = 0) -> Reply:
        """Get the reply to a chat request, from the cache if it has the reply.

        Args:
            fields: the request's body without the model.
            number: distinguishes requests with the same body whose replies may differ.

        Raises:
            RefusedRequestError: the endpoint refuses this request.
            NoReplyError: this request gets no reply.
            EndpointError: no request gets a reply.
        """
        body = {"model": self.model.name, **fields, **self.model.extra_body}
        removed = {name for name, value in self.model.extra_body.items() if value is None}
        text = json.dumps({name: value for name, value in body.items() if name not in removed})
        file = self._file(text, number)
        if (kept := _kept(file)) is not None:
            self.usage.count(from_cache=1)
            return kept
        reply = self._reply(text)
        self.usage.count_reply(reply)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomic(file, self._safe(reply.to_text()))
        return reply

    def _file(self, body: str, number: int) -> Path | None:
        """The file of a reply in the cache, named by a hash of address, body (prompt, clips, settings) and number."""
        if self._folder is None:
            return None
        digest = hashlib.sha256(f"{self.model.url}\n{number}\n{body}".encode()).hexdigest()
        return self._folder / digest[:2] / f"{digest}.json"

    def _reply(self, body: str) -> Reply:
        attempt = 0
        while True:
            self._pace.wait()
            reply, failure, wait = self._attempt(body)
            if reply is not None:
                self._failures = 0
                return reply
            if attempt == self.model.retries or wait > LONGEST_RETRY_AFTER:
                self._give_up(failure)
            backoff = self.backoff * 2**attempt * random.uniform(0.5, 1.0)
            attempt += 1
            self.usage.count(retries=1)
            time.sleep(max(wait, min(backoff, LONGEST_WAIT)))

    def _attempt(self, body: str) -> tuple[Reply | None, str, float]:
        """Send the request once: the reply or None, the reason for None, the seconds that the endpoint asks to wait."""
        try:
            response = self._http.post(
                self.model.url, content=body, headers={"Content-Type": "application/json"}
            )
        except httpx2.TimeoutException:
            return None, f"no reply within {self.model.timeout:g} s", 0.0
        except httpx2.RequestError as error:
            return None, self._safe(f"{type(error).__name__}: {error}"), 0.0
        status = response.status_code
        if status == 200:
            try:
                return read_reply(response.text), "", 0.0
            except MalformedReplyError as error:
                return None, self._safe(str(error)), 0.0
        reason = f"status {status}: {self._message(response.text)}"
        if 300 <= status < 400:
            target = self._safe(response.headers.get("Location", "another address"))
            reason = f"status {status} sends requests on to {target}, which is not followed"
        if status in _STOPS or 300 <= status < 400 or "insufficient_quota" in response.text:
            raise EndpointError(self._stopped(reason))
        if status not in _TEMPORARY and status < 500:
            raise RefusedRequestError(reason)
        wait = retry_after(response.headers.get("Retry-After"))
        if wait:
            self._pace.pause(min(wait, LONGEST_RETRY_AFTER))
        return None, reason, wait

    def _give_up(self, failure: str) -> None:
        self.usage.count(failed=1)
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW:
            raise EndpointError(
                self._stopped(f"{self._failures} requests in a row got no reply ({failure})")
            )
        raise NoReplyError(f"no reply after {self.model.retries + 1} attempts: {failure}")

    def _stopped(self, reason: str) -> str:
        kept = f" The replies so far are kept in {self._folder}." if self._folder else ""
        return (
            f"{self.model.path}: {reason}. Check model.base_url, model.name and the key in "
            f"{self.model.key_variable or 'model.key_variable'}, then start the same command again.{kept}"
        )

    def _message(self, text: str) -> str:
        """The endpoint's description of an error, in one line without secrets."""
        try:
            error = json.loads(text)["error"]
            text = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, KeyError, TypeError):
            pass  # not the protocol's form: the whole text is the description
        return one_line(self._safe(text), 200)

    def _safe(self, text: str) -> str:
        return without_secrets(text, [self._key] if self._key else ())


def _kept(file: Path | None) -> Reply | None:
    """Read a reply from the cache; None if there is none or its file is damaged."""
    if file is None:
        return None
    try:
        return Reply.from_text(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged and is asked again: %s", file, error)
        return None


def retry_after(
    header: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> float:
    """Seconds to wait by a Retry-After header, which has a number or a date; 0 without a valid header."""
    if not header:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass  # not a number
    try:
        return max(0.0, (parsedate_to_datetime(header) - now()).total_seconds())
    except (ValueError, TypeError):
        return 0.0


class _Pace:
    """Spaces requests evenly, and delays all of them while the endpoint asks to wait."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait until the next request may begin."""
        with self._lock:
            begin = max(self._next, time.monotonic())
            self._next = begin + self._interval
        time.sleep(max(0.0, begin - time.monotonic()))

    def pause(self, seconds: float) -> None:
        """Delay all further requests by at least this time."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)
