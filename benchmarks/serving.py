"""Load test of ``stages=[serve]`` on loopback: clips per second and latencies with 1 to 64 clients.

    python -m benchmarks.serving                               # the tiny judge, 1, 4, 16 and 64 clients
    python -m benchmarks.serving --judge RUN --device cuda     # a run folder
    python -m benchmarks.serving --clients 1 8 --requests 24 --write   # also docs/serving.md

Each client sends one clip a request over a connection of its own and waits for the answer. The clips and texts differ,
and each answer is compared with that of `Judge.score` in this process. Then the server gets SIGTERM under the load of all
clients: the number of answers has to be the number of requests that it accepted. The clients share the cores with the
server.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page import surroundings, write_with_remarks
from dramaeval import Judge
from dramaeval.tasks.text_names import required_names

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "dramaeval/data/sample/realism"
#: Largest difference of a probability from that of `Judge.score`.
TOLERANCE = 1e-5


@dataclass
class Question:
    """A request, and the distributions that the answer has to contain."""

    body: bytes
    expected: dict[str, tuple[float, ...]]


@dataclass
class Load:
    """What a number of clients measured."""

    clients: int
    seconds: float
    latencies: list[float] = field(default_factory=list)
    wrong: int = 0
    statuses: dict[int, int] = field(default_factory=dict)

    def row(self, base: Load) -> str:
        """A row of the table; ``base`` is the load of one client."""
        rate, rate_of_one = (each.answered / each.seconds for each in (self, base))
        times = " | ".join(f"{1000 * np.percentile(self.latencies, q):,.0f}" for q in (50, 95, 99))
        return f"| {self.clients} | {rate:.1f} | {rate / rate_of_one:.2f} | {times} | {self.answered} | {self.wrong} |"

    @property
    def answered(self) -> int:
        """The answers with status 200."""
        return self.statuses.get(200, 0)


def questions(judge_path: str, count: int) -> list[Question]:
    """Requests about different clips of the bundled sample, with the answers of the Python API."""
    judge = Judge.load(judge_path, device="cpu")
    names = required_names(judge.task_of_clips("role"))
    lines = (SAMPLE / "train.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    asked = []
    for record in map(json.loads, lines):
        clip = SAMPLE / record["wav_path"]
        texts = {short: record[key] for key, short in names.items()}
        scores = judge.score(str(clip), "role", **texts)
        audio = base64.b64encode(clip.read_bytes()).decode()
        body = json.dumps({"audio": audio, "texts": texts}).encode()
        asked.append(Question(body, {key: each.distribution for key, each in scores.items()}))
    return asked


class RunningServer:
    """A server in a process of its own."""

    def __init__(self, judge: str, device: str, folder: Path) -> None:
        self.log = folder / "server.log"
        command = [
            sys.executable, str(ROOT / "launch.py"), "serve", judge, f"device={device}", "task=role", "serve.port=0",
            "serve.queue_clips=1024", f"hydra.run.dir={folder / 'run'}",
        ]  # fmt: skip
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, cwd=folder
            )
        self.port = int(self._wait_for(r"at http://127\.0\.0\.1:(\d+)"))
        while True:
            try:
                self.metrics()
                return
            except OSError:
                time.sleep(0.1)

    def _wait_for(self, pattern: str) -> str:
        while not (match := re.search(pattern, self.log.read_text())):
            if self.process.poll() is not None:
                raise SystemExit(f"The server did not start:\n{self.log.read_text()}")
            time.sleep(0.1)
        return match[1]

    def metrics(self) -> str:
        """The text of ``/metrics``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()

    def stop(self) -> int:
        """Send SIGTERM and wait; the number of requests that the server accepted."""
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(180) != 0:
            raise SystemExit(f"The server failed:\n{self.log.read_text()}")
        return int(self._wait_for(r"It accepted (\d+) requests"))


def run_clients(port: int, asked: Sequence[Question], clients: int, requests: int) -> Load:
    """Send ``requests`` requests from a number of clients; a client ends early if the server closes its connection."""
    load, lock = Load(clients, 0.0), threading.Lock()
    numbers = iter(range(requests))

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            question = asked[number % len(asked)]
            start = time.perf_counter()
            try:
                connection.request(
                    "POST", "/v1/score", question.body, {"Content-Type": "application/json"}
                )
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException):
                return
            with lock:
                load.latencies.append(time.perf_counter() - start)
                load.statuses[response.status] = load.statuses.get(response.status, 0) + 1
                load.wrong += response.status == 200 and not is_right(answer, question)

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for each in [pool.submit(client) for _ in range(clients)]:
            each.result()
    load.seconds = time.perf_counter() - start
    return load


def is_right(answer: Any, question: Question) -> bool:
    """Whether an answer has the distributions of `Judge.score`."""
    scores = answer["results"][0]["scores"]
    return scores.keys() == question.expected.keys() and all(
        np.allclose(scores[key]["distribution"], expected, rtol=0, atol=TOLERANCE)
        for key, expected in question.expected.items()
    )


def stopped_under_load(server: RunningServer, asked: Sequence[Question], clients: int) -> str:
    """Send SIGTERM while all clients wait for answers; the result in a sentence."""
    before = int(
        float(re.findall(r"^dramaeval_accepted_requests_total (\S+)", server.metrics(), re.M)[0])
    )
    loads: list[Load] = []
    thread = threading.Thread(
        target=lambda: loads.append(run_clients(server.port, asked, clients, 10**6))
    )
    thread.start()
    time.sleep(1.5)
    accepted = server.stop() - before
    thread.join()
    (load,) = loads
    lost, other = accepted - load.answered, load.statuses.keys() - {200, 503}
    if lost or load.wrong or other:
        raise SystemExit(f"SIGTERM lost {lost} requests: {load.statuses}, {load.wrong} wrong.")
    return (
        f"SIGTERM with {clients} clients: {accepted} requests were accepted, {load.answered} of them answered, "
        "none with a wrong answer."
    )


def page(rows: Sequence[str], stop: str, judge: str) -> str:
    """The page of results."""
    about = surroundings()
    machine = ", ".join(
        f"{name} {value}" for name, value in about.items() if isinstance(value, str | int)
    )
    lines = [
        "# Serving",
        "",
        "Written by `python -m benchmarks.serving --write`. Clients on the same machine send one clip a request; each "
        f"answer is compared with that of `Judge.score` (probabilities within {TOLERANCE:g}). The first row is one request "
        "at a time.",
        "",
        f"Judge: {judge}. {machine}.",
        "",
        "| clients | clips/s | ratio to one client | median ms | 95 % ms | 99 % ms | answers | wrong |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        stop,
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the load test."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--judge", default="tiny", help="a name in configs/model/ or a run folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument(
        "--requests",
        type=int,
        default=256,
        help="for each number of clients, at least one a client",
    )
    parser.add_argument("--clips", type=int, default=32, help="different clips")
    parser.add_argument("--write", action="store_true", help="write docs/serving.md")
    chosen = parser.parse_args()
    asked = questions(chosen.judge, chosen.clips)
    judge = chosen.judge if not os.path.isdir(chosen.judge) else "a run folder"
    with tempfile.TemporaryDirectory() as folder:
        server = RunningServer(chosen.judge, chosen.device, Path(folder))
        try:
            run_clients(server.port, asked, 1, len(asked))  # the first passes are slower
            loads = [
                run_clients(server.port, asked, clients, max(chosen.requests, clients))
                for clients in chosen.clients
            ]
            print("\n".join(load.row(loads[0]) for load in loads), flush=True)
            stop = stopped_under_load(server, asked, max(chosen.clients))
        finally:
            server.process.kill()
    wrong = [
        load for load in loads if load.wrong or load.answered != max(chosen.requests, load.clients)
    ]
    text = page([load.row(loads[0]) for load in loads], stop, judge)
    print(text)
    if wrong:
        raise SystemExit(f"Wrong or missing answers: {wrong}")
    if chosen.write:
        write_with_remarks(ROOT / "docs/serving.md", text)


if __name__ == "__main__":
    main()
