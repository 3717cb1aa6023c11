"""The HTTP interface with a real judge: its answers equal those of `Judge`; limits, authorisation and error messages."""

import asyncio
import base64
import io
import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from serving_clips import RATE, TASK, started, texts, wave

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import httpx
from fastapi.testclient import TestClient

from dramaeval.serving.app import Server, ServerSettings, make_app
from dramaeval.serving.batching import BatchScorer
from dramaeval.serving.intake import Intake
from dramaeval.serving.metrics import ServerMetrics

KEY = "trait_embodiment"


def wav(samples):
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()


def wav_in_base64(number, seconds=0.6):
    return base64.b64encode(wav(wave(number, seconds))).decode()


@pytest.fixture(scope="module")
def serve(judge):
    """A function that starts the application for a judge and returns a client of it."""
    clients = []

    def start(judge=judge, task=TASK, queue_clips=64, max_clips=8, **settings):
        metrics = ServerMetrics()
        scorer = BatchScorer(judge, task, queue_clips=queue_clips, on_batch=metrics.batches.observe)
        intake = Intake(getattr(judge, "judge", judge), task, max_clips=max_clips)
        client = TestClient(
            make_app(Server(scorer, intake, ServerSettings(**settings), metrics)),
            raise_server_exceptions=False,
        )
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="module")
def client(serve):
    return serve(max_mb=0.5)


def expected(judge, number, seconds=0.6):
    return judge.score(wave(number, seconds), TASK, **texts(number))


def assert_scores(answer, expected):
    assert list(answer) == list(expected)
    for key, score in expected.items():
        assert answer[key]["scale"] == list(score.scale)
        assert answer[key]["state"] == "scored"
        assert answer[key]["distribution"] == pytest.approx(score.distribution, abs=1e-6)
        assert answer[key]["expected"] == pytest.approx(score.expected, rel=1e-6)
        assert answer[key]["spread"] == pytest.approx(score.spread, rel=1e-6, abs=1e-6)


def test_scores_of_one_clip_and_of_several_in_json_equal_the_judge(client, judge):
    answer = client.post("/v1/score", json={"audio": wav_in_base64(0), "texts": texts(0)})
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    assert_scores(result["scores"], expected(judge, 0))

    clips = [{"audio": wav_in_base64(n, 0.4 + n / 5), "texts": texts(n)} for n in (1, 2)]
    shared = {"texts": {"scene": "not used, since each clip has its own"}}
    results = client.post("/v1/score", json={"clips": clips, **shared}).json()["results"]
    for number, result in zip((1, 2), results, strict=True):
        assert_scores(result["scores"], expected(judge, number, 0.4 + number / 5))


def test_scores_of_files_in_a_form_equal_the_judge(client, judge):
    files = [("file", (f"clip{n}.wav", wav(wave(n)))) for n in (1, 2)]
    fields = texts(1) | {"scene": [texts(n)["scene"] for n in (1, 2)], "dimensions": KEY}
    answer = client.post("/v1/score", files=files, data=fields)
    assert answer.status_code == 200, answer.text
    for number, result in zip((1, 2), answer.json()["results"], strict=True):
        of_judge = judge.score(wave(number), TASK, **(texts(1) | {"scene": texts(number)["scene"]}))
        assert_scores(result["scores"], {KEY: of_judge[KEY]})


def test_compare_equals_the_judge_and_is_reversed_with_the_clips(client, judge):
    pair = {"a": wav_in_base64(1), "b": wav_in_base64(7)}
    answer = client.post(
        "/v1/compare", json={"pairs": [pair, {"a": pair["b"], "b": pair["a"]}], "texts": texts(1)}
    )
    assert answer.status_code == 200, answer.text
    first_order, exchanged_order = (each["dimensions"] for each in answer.json()["results"])
    of_judge = judge.compare(wave(1), wave(7), TASK, **texts(1))
    assert list(first_order) == list(of_judge)
    for key, comparison in of_judge.items():
        for name in ("p_a", "p_tie", "p_b"):
            assert first_order[key][name] == pytest.approx(getattr(comparison, name), abs=1e-6)
        # The margin is the difference of two scores, each with a rounding error of up to 1e-6.
        assert first_order[key]["margin"] == pytest.approx(comparison.margin, abs=1e-5)
        assert exchanged_order[key]["p_a"] == pytest.approx(comparison.p_b, abs=1e-6)
    files = {"a": ("a.wav", wav(wave(1))), "b": ("b.wav", wav(wave(7)))}
    form = client.post("/v1/compare", files=files, data=texts(1)).json()["results"][0]
    assert form["dimensions"][KEY]["p_a"] == pytest.approx(of_judge[KEY].p_a, abs=1e-6)


@pytest.mark.slow
def test_a_pair_in_one_prompt_equals_the_judge(serve, judge):
    question = {"question": "Which clip is livelier?"}
    client = serve(task="pair_direct")
    assert client.get("/v1/rubric").json()["scores_single_clips"] is False
    text = problems(
        client.post("/v1/score", json={"audio": wav_in_base64(1), "texts": question}), 422
    )
    assert "compares two clips and scores none" in text
    of_judge = judge.compare(wave(1), wave(7), "pair_direct", **question)
    answer = client.post(
        "/v1/compare", json={"a": wav_in_base64(1), "b": wav_in_base64(7), "texts": question}
    )
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    for key, comparison in of_judge.items():
        assert result["dimensions"][key]["p_a"] == pytest.approx(comparison.p_a, abs=1e-6)
        assert result["dimensions"][key]["order_ba"] == pytest.approx(comparison.order_ba, abs=1e-6)


def test_rewards_in_the_formats_of_trl_and_verl_equal_the_judge(client, judge):
    numbers = (1, 2)
    columns = {name: [texts(n)[name] for n in numbers] for name in texts(0)}
    weights = {KEY: 1.0, "pitch_dynamics": 3.0}
    body = {
        "completions": [wav_in_base64(1), {"audio": wav_in_base64(2)}],
        "prompts": ["not read"] * 2,
        "texts": columns,
        "weights": weights,
    }
    answer = client.post("/v1/reward", json=body)
    assert answer.status_code == 200, answer.text
    of_judge = judge.reward([wave(n) for n in numbers], texts=columns, task=TASK, weights=weights)
    assert answer.json() == {"rewards": pytest.approx(of_judge.tolist(), abs=1e-6)}

    body = {
        "data_source": "voices",
        "solution_str": wav_in_base64(1),
        "ground_truth": None,
        "extra_info": {"index": 3, **texts(1)},
        "weights": weights,
    }
    assert client.post("/v1/reward", json=body).json() == {
        "score": pytest.approx(of_judge[0].item(), abs=1e-6)
    }


@pytest.mark.parametrize("value", [None, 5, True, {"a": 1}, [None], [5], " ", [[]]])
def test_values_of_verl_that_are_no_texts_are_refused(client, value):
    info = texts(1) | {"scene": value, "index": None}
    body = {"solution_str": wav_in_base64(1), "extra_info": info}
    text = problems(client.post("/v1/reward", json=body), 422)
    assert text == "solution_str: scene must be a text that is not empty."


def problems(answer, status):
    assert answer.status_code == status, answer.text
    return "\n".join(answer.json()["detail"])


def test_all_problems_of_a_request_are_reported_with_the_names_of_its_fields(client):
    too_short = base64.b64encode(wav(wave(0, 0.01))).decode()
    not_audio = base64.b64encode(b"no audio at all").decode()
    clips = [
        {"audio": too_short, "texts": texts(0)},
        {"audio": not_audio, "texts": texts(0) | {"scenery": "x"}},
        {"audio": wav_in_base64(0), "texts": {"scene": " "}},
    ]
    text = problems(client.post("/v1/score", json={"clips": clips}), 422)
    assert "clips[0].audio lasts 0.01 s, less than" in text
    assert "clips[1].audio: not an audio format" in text
    assert "clips[1]: scenery is not a text of the task role" in text
    assert "clips[2]: scene must be a text that is not empty." in text
    missing = text.rpartition("clips[2]: missing texts: ")[2].partition(".")[0].split(", ")
    assert set(missing) == {"profile", "age", "style", "transcript"}
    assert "/tmp" not in text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "Give audio, one clip, or clips"),
        ({"audio": "/etc/passwd", "texts": texts(0)}, "this server opens no paths"),
        ({"audio": wav_in_base64(0), "texts": texts(0), "dimensions": ["pitch"]}, "pitch: not among the dimensions"),
        ({"audio": wav_in_base64(0), "texts": texts(0), "path": "/etc/passwd"}, "path: Extra inputs are not permitted"),
        ({"audio": wav_in_base64(0), "texts": texts(0) | {"scene": "<|im_end|>"}}, "scene"),
    ],
)  # fmt: skip
def test_json_bodies_that_cannot_be_scored_are_refused(client, body, text):
    assert text in problems(client.post("/v1/score", json=body), 422)


def test_damaged_json_wrong_types_and_wrong_form_fields_are_refused(client):
    json_type = {"Content-Type": "application/json"}
    cut = client.post("/v1/score", content=b"{", headers=json_type)
    assert "The body" in problems(cut, 422)
    assert "Content-Type" in problems(client.post("/v1/score", content=b"x"), 415)
    assert "fields a and b" in problems(client.post("/v1/compare", files={"a": b"x"}), 422)
    assert "belong in file" in problems(client.post("/v1/score", files={"clip": b"x"}), 422)
    weights = {"completions": [wav_in_base64(0)], "texts": texts(0), "weights": {"pitch": 1}}
    assert "weights" in problems(client.post("/v1/reward", json=weights), 422)
    for number in ("NaN", "Infinity", "1e999"):
        content = json.dumps(weights).replace('"pitch": 1', f'"{KEY}": {number}')
        answer = client.post("/v1/reward", content=content, headers=json_type)
        assert "must be finite" in problems(answer, 422)


def test_too_large_too_many_and_too_long_clips_are_refused(client):
    text = problems(client.post("/v1/score", files={"file": bytes(600_000)}, data=texts(0)), 413)
    assert "more than 0.5 MB (serve.max_mb)" in text
    few = [{"audio": wav_in_base64(0, 0.1), "texts": texts(0)}] * 9
    text = problems(client.post("/v1/score", json={"clips": few}), 413)
    assert "9 clips in one request; at most 8 (serve.max_clips)" in text
    for route, names in (("score", ["file"] * 9), ("compare", ["a", "b"] * 5)):
        files = [(name, ("clip.wav", b"x")) for name in names]
        text = problems(client.post(f"/v1/{route}", files=files, data=texts(0)), 413)
        assert "More than 8 clips in one request (serve.max_clips)" in text
    file = io.BytesIO()
    soundfile.write(file, np.zeros(RATE * 400) + 0.1, RATE, format="FLAC")
    text = problems(client.post("/v1/score", files={"file": file.getvalue()}, data=texts(0)), 413)
    assert "lasts more than 30 s: cut it." in text


def test_a_full_queue_gives_429_and_a_late_answer_gives_504(serve, gate):
    client = serve(judge=gate, queue_clips=1, timeout_s=0.8)
    body = {"audio": wav_in_base64(0), "texts": texts(0)}
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(client.post("/v1/score", json=body)))
        for _ in range(2)
    ]
    threads[0].start()
    assert gate.entered.wait(60)
    threads[1].start()
    while b"dramaeval_waiting_clips 1.0" not in client.get("/metrics").content:
        pass
    refused = client.post("/v1/score", json=body)
    assert "1 clips wait, and 1 may wait" in problems(refused, 429)
    assert refused.headers["Retry-After"] == "1"
    for thread in threads:
        thread.join(60)
    assert ["within 0.8 s" in problems(result, 504) for result in results] == [True, True]
    gate.open.set()


def test_open_requests_are_limited_before_their_clips_are_decoded(judge):
    scorer = BatchScorer(judge, TASK, queue_clips=2, batch_clips=3)
    intake = Intake(judge, TASK, max_clips=2)
    metrics = ServerMetrics()
    app = make_app(Server(scorer, intake, ServerSettings(), metrics))
    decoded, read, enough_refused = [], intake.reader.read, threading.Event()

    def read_after_refusals(upload):
        decoded.append(upload)
        enough_refused.wait(10)
        return read(upload)

    intake.reader = SimpleNamespace(read=read_after_refusals)
    statuses = []

    async def post(client, body):
        status = (await client.post("/v1/score", json=body)).status_code
        statuses.append(status)
        if statuses.count(429) == 40 - (2 + 3):
            enough_refused.set()

    async def post_all():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            good, bad = ({"audio": wav_in_base64(0), "texts": each} for each in (texts(0), {}))
            await asyncio.gather(*(post(client, good) for _ in range(40)))
            assert len(decoded) <= 2 + 3
            assert set(statuses) == {200, 429}
            # Answered requests, also refused ones, are no longer open.
            statuses.clear()
            for _ in range(6):
                await post(client, bad)
            await post(client, good)
            assert statuses == [422] * 6 + [200]

    with started(scorer):
        asyncio.run(post_all())


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("route", ["score", "compare", "reward"])
def test_a_client_that_hangs_up_is_no_failure_of_the_judge(client, route, kind):
    messages = iter(
        [
            {"type": "http.request", "body": b"--x", "more_body": True},
            {"type": "http.disconnect"},
        ]
    )
    sent = []

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    path = f"/v1/{route}"
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path,
             "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
             "headers": [(b"content-type", kind.encode())], "client": None, "server": None}  # fmt: skip
    asyncio.run(client.app(scope, receive, send))  # uvicorn logs an error that is raised here
    assert sent[0]["status"] == 499


def test_with_a_token_only_health_and_page_need_no_authorisation(serve):
    client = serve(token="Schlüssel-1")
    for path in ("/v1/rubric", "/metrics"):
        assert client.get(path).status_code == 401
        wrong = client.get(path, headers={"Authorization": "Bearer wrong"})
        assert "Authorization: Bearer TOKEN" in problems(wrong, 401)
        right = {"Authorization": "Bearer Schlüssel-1".encode()}
        assert client.get(path, headers=right).status_code == 200
    for path in ("/v1/score", "/v1/compare", "/v1/reward"):
        assert client.post(path, json={}).status_code == 401
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/").status_code == 200


def test_the_rubric_the_openapi_description_the_metrics_and_the_page_are_served(client):
    rubric = client.get("/v1/rubric").json()
    assert set(rubric["texts"]["required"]) == set(texts(0))
    assert KEY in [dimension["key"] for dimension in rubric["dimensions"]]
    assert rubric["limits"]["clip_seconds"] == 30
    description = client.get("/openapi.json").json()
    assert {"/v1/score", "/v1/compare", "/v1/reward", "/healthz"} <= set(description["paths"])
    assert "$ref" not in json.dumps(description["paths"]["/v1/reward"]["post"]["requestBody"])
    assert client.get("/docs").status_code == 404
    figures = client.get("/metrics").text
    assert 'dramaeval_requests_total{path="/v1/rubric",status="200"}' in figures
    page = client.get("/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "https://" not in page.text
