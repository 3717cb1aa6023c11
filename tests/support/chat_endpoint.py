"""A local OpenAI-compatible chat endpoint. It scores clips by their loudness; tests can make it fail."""

from __future__ import annotations

import base64
import io
import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import soundfile


class Endpoint(ThreadingHTTPServer):
    """The server.

    Attributes:
        faults: replies to the next requests instead of an answer: a status, ``(status, body, headers)``,
            ``"timeout"``, or a body.
        bodies, headers: those of the requests, in order.
        logprobs: whether replies have logprobs; with ``"refused"``, a request for logprobs gets status 400.
        answers: a function of a request's body that returns the texts of the reply and the probabilities of the score's
            token.
        many: whether a reply may have several choices.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.faults: list = []
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        self.logprobs: bool | str = True
        self.answers = by_loudness
        self.many = True
        self.lock = threading.Lock()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


def loudness(body: dict) -> float:
    """The root mean square of the last clip of a request."""
    parts = [part for message in body["messages"] if isinstance(message["content"], list)
             for part in message["content"]]  # fmt: skip
    (audio,) = [part["input_audio"] for part in parts if part["type"] == "input_audio"]
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(audio["data"])))
    assert (audio["format"], rate) == ("wav", 16000)
    return float(np.sqrt(np.mean(samples**2)))


def by_loudness(body: dict) -> tuple[list[str], dict[str, float]]:
    """Answer with a score from 1 to 5 that increases with loudness; its probability is 0.75."""
    score = int(np.clip(round(1 + 20 * loudness(body)), 1, 5))
    other = score - 1 if score > 1 else 2
    probabilities = {str(score): 0.75, str(other): 0.25}
    count = body.get("n", 1)
    return [f"<answer>{score}</answer>"] * count, probabilities


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.headers.append(dict(self.headers))
            fault = self.server.faults.pop(0) if self.server.faults else None
        if fault == "timeout":
            self.server.released.wait(5)
            self.close_connection = True
        elif fault is not None:
            self._fault(fault)
        elif self.path != "/v1/chat/completions":
            self._send(404, json.dumps({"error": {"message": "no such route"}}))
        elif body.get("logprobs") and self.server.logprobs == "refused":
            message = "This model does not support logprobs."
            self._send(400, json.dumps({"error": {"message": message}}))
        else:
            self._send(200, json.dumps(self._completion(body)))

    def _fault(self, fault) -> None:
        if isinstance(fault, str):
            self._send(200, fault)
        elif isinstance(fault, int):
            self._send(fault, json.dumps({"error": {"message": "out of order"}}))
        else:
            self._send(*fault)

    def _completion(self, body: dict) -> dict:
        texts, probabilities = self.server.answers(body)
        texts = texts if self.server.many else texts[:1]
        with_logprobs = body.get("logprobs") and self.server.logprobs is True
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": body["model"],
            "choices": [
                {
                    "index": index,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": text},
                    "logprobs": logprobs_of(text, probabilities) if with_logprobs else None,
                }
                for index, text in enumerate(texts)
            ],
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 5 * len(texts),
                "prompt_tokens_details": {"audio_tokens": 60},
            },
        }

    def _send(self, status: int, text: str, headers: dict | None = None) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_) -> None:
        pass


def logprobs_of(text: str, probabilities: dict[str, float]) -> dict:
    """The tokens of an answer, one for each character inside the tags; digits have the given alternatives."""
    words = ["<", "answer", ">", *text.removeprefix("<answer>").removesuffix("</answer>"), "</",
             "answer", ">"]  # fmt: skip
    content = []
    for word in words:
        alternatives = probabilities if word in probabilities else {word: 1.0}
        top = [{"token": token, "logprob": math.log(p)} for token, p in alternatives.items()]
        content.append(
            {"token": word, "logprob": math.log(alternatives[word]), "top_logprobs": top}
        )
    return {"content": content}


@contextmanager
def chat_endpoint() -> Iterator[Endpoint]:
    """Run an endpoint within the ``with`` block."""
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
