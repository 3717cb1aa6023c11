"""The client of an endpoint: retries, limits, errors, cache, key and cost, over HTTP on this machine."""

import json
import logging
from datetime import UTC, datetime

import pytest

from dramaeval.evaluation.endpoint import client as module
from dramaeval.evaluation.endpoint.client import (
    ChatClient,
    EndpointError,
    NoReplyError,
    RefusedRequestError,
    retry_after,
)
from dramaeval.evaluation.endpoint.usage import Usage, read_usage
from dramaeval.models.api_model import ApiModel

KEY = "the-key-of-this-test-0123456789"


@pytest.fixture(autouse=True)
def fixed_answer(endpoint):
    endpoint.answers = lambda body: (["<answer>4</answer>"] * body.get("n", 1), {"4": 1.0})


def ask(client, text="Rate it.", **fields):
    return client.ask({"messages": [{"role": "user", "content": text}], **fields})


@pytest.mark.parametrize(
    "faults",
    [
        [429],
        [500, 502, 503],
        ["{"],
        ['{"choices": []}', "<html>busy</html>"],
        ["timeout"],
        [(200, "not compressed", {"Content-Encoding": "gzip"})],
        [(429, "slow down", {"Retry-After": "0.05"}), 500],
        ["[" * 100_000],
        ['{"error": {"message": "overloaded"}}'],
    ],
)
def test_a_temporary_error_is_retried(endpoint, client_of, faults):
    endpoint.faults = list(faults)
    client = client_of(timeout=0.3)
    assert ask(client).completions[0].text == "<answer>4</answer>"
    assert (client.usage.retries, client.usage.requests) == (len(faults), 1)
    assert len(endpoint.bodies) == len(faults) + 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_retry_after_delays_all_requests(endpoint, client_of, monkeypatch, status):
    waits = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    endpoint.faults = [(status, "slow down", {"Retry-After": "7"})]
    client = client_of()
    ask(client)
    before, retry, next_request = waits
    assert before == 0
    assert retry == 7
    # The test does not sleep, so the next request still has to wait nearly seven seconds.
    assert 6 < next_request <= 7


def test_the_rate_is_limited_between_requests(client_of, monkeypatch):
    waits = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    client = client_of(requests_per_minute=2)
    for number in range(3):
        ask(client, f"Rate clip {number}.")
    # One request per 30 s, less the short time between the requests.
    assert waits[0] == 0
    assert 29 < waits[1] <= 30
    assert 59 < waits[2] <= 60


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("3", 3),
        ("0.5", 0.5),
        ("-1", 0),
        ("soon", 0),
        ("Sun, 29 Nov 2026 12:00:30 GMT", 30),
        ("Sun, 29 Nov 2026 11:00:00 GMT", 0),
    ],
)
def test_retry_after_has_seconds_or_a_date(header, seconds):
    assert retry_after(header, lambda: datetime(2026, 11, 29, 12, tzinfo=UTC)) == seconds


def test_a_permanent_error_leaves_the_request_without_a_reply(endpoint, client_of):
    endpoint.faults = [500] * 3
    client = client_of(retries=2)
    with pytest.raises(NoReplyError, match="after 3 attempts: status 500: out of order"):
        ask(client)
    assert (client.usage.failed, client.usage.requests) == (1, 0)
    assert ask(client).completions  # a failure is not cached


def test_many_failures_in_a_row_stop_the_run(endpoint, client_of):
    endpoint.faults = [500] * module.FAILURES_IN_A_ROW
    client = client_of(retries=0)
    for number in range(module.FAILURES_IN_A_ROW - 1):
        with pytest.raises(NoReplyError):
            ask(client, str(number))
    with pytest.raises(EndpointError, match="10 requests in a row got no reply"):
        ask(client)


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405])
def test_an_error_of_all_requests_stops_at_once(endpoint, client_of, status):
    endpoint.faults = [status] * 5
    with pytest.raises(EndpointError, match=f"status {status}: out of order"):
        ask(client_of())
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_stops_at_once_and_names_its_target(endpoint, client_of, status):
    endpoint.faults = [(status, "", {"Location": "https://elsewhere/v1/chat/completions"})] * 5
    with pytest.raises(EndpointError, match=f"status {status} .*https://elsewhere/v1/chat"):
        ask(client_of())
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize("error", [{"message": "no credit left"}, "no credit left"])
def test_an_error_with_status_200_gives_the_endpoints_reason(endpoint, client_of, error):
    endpoint.faults = [json.dumps({"error": error})] * 2
    with pytest.raises(NoReplyError, match="the reply is an error: no credit left"):
        ask(client_of(retries=1))


@pytest.mark.parametrize("key", ["abc\n", " abc", "a bc", "abcé", "“abc”", "abc\x7f"])
def test_a_key_that_no_request_can_hold_is_a_problem(monkeypatch, key):
    monkeypatch.setenv("MY_VOICE_SERVICE", key)
    for address in ("https://host/v1", "http://localhost:8000/v1"):
        model = ApiModel(base_url=address, name="m", key_variable="MY_VOICE_SERVICE")
        problem = str(model.key_problem())
        assert problem.startswith("The key in MY_VOICE_SERVICE has a space, a line break or")
        assert key not in problem
    monkeypatch.setenv("MY_VOICE_SERVICE", KEY)
    assert model.key_problem() is None


def test_an_empty_account_with_status_429_stops_at_once(endpoint, client_of):
    body = '{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    endpoint.faults = [(429, body)]
    with pytest.raises(EndpointError, match="exceeded your quota"):
        ask(client_of())


def test_a_request_refused_with_status_400_is_not_repeated(endpoint, client_of):
    endpoint.faults = [400]
    with pytest.raises(RefusedRequestError, match="status 400"):
        ask(client_of())
    assert len(endpoint.bodies) == 1


def test_a_server_that_does_not_listen_gives_the_reason():
    model = ApiModel(base_url="http://127.0.0.1:9/v1", name="nobody", retries=1)
    with pytest.raises(NoReplyError, match="ConnectError"):
        ask(ChatClient(model, Usage(), backoff=0.001))


def test_a_repeated_request_is_answered_from_the_cache(endpoint, client_of):
    first, again = client_of(), client_of()
    replies = [ask(first, n=2), ask(again, n=2)]
    assert replies[0] == replies[1]
    assert len(endpoint.bodies) == 1
    assert (again.usage.requests, again.usage.from_cache) == (0, 1)
    # Another prompt, another setting, another model and another sample are other requests.
    ask(again, "Rate it again.", n=2)
    ask(again, n=2, temperature=0.5)
    ask(client_of(extra_body={"top_p": 0.9}), n=2)
    again.ask({"messages": [{"role": "user", "content": "Rate it."}], "n": 2}, number=1)
    assert len(endpoint.bodies) == 5


def test_a_damaged_entry_is_requested_again(endpoint, client_of, tmp_path, caplog):
    ask(client_of())
    (entry,) = (tmp_path / "cache").rglob("*.json")
    entry.write_text('{"completions": [')
    assert ask(client_of()).completions[0].text == "<answer>4</answer>"
    assert len(endpoint.bodies) == 2
    assert "is damaged and is asked again" in caplog.text


def test_extra_fields_are_sent_and_null_leaves_a_field_out(endpoint, client_of):
    client = client_of(extra_body={"seed": None, "modalities": ["text"]})
    ask(client, seed=3, temperature=0)
    (body,) = endpoint.bodies
    assert body == {
        "model": "listener-1",
        "messages": [{"role": "user", "content": "Rate it."}],
        "temperature": 0,
        "modalities": ["text"],
    }


def test_the_key_is_sent_and_written_to_no_file_or_log(
    endpoint, client_of, monkeypatch, tmp_path, caplog
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MY_VOICE_SERVICE", KEY)  # a name that is not recognised as a secret
    client = client_of(key_variable="MY_VOICE_SERVICE")
    echo = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}})
    endpoint.answers = lambda body: ([f"<answer>4</answer> {KEY}"], {})
    ask(client)
    endpoint.faults = [(401, echo)]
    with pytest.raises(EndpointError, match="Incorrect API key provided") as stopped:
        ask(client, "another")
    client.usage.write(tmp_path, client.model)
    assert [headers["Authorization"] for headers in endpoint.headers] == [f"Bearer {KEY}"] * 2
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 2
    assert KEY not in "".join([*written, str(stopped.value), caplog.text, repr(client.model)])


def test_without_a_key_no_header_is_sent(endpoint, client_of):
    ask(client_of(key_variable=None))
    assert "Authorization" not in endpoint.headers[0]


def test_tokens_and_cost_by_hand(client_of, tmp_path):
    client = client_of(price_input=2.0, price_audio=40.0, price_output=10.0)
    ask(client, n=2)
    ask(client, n=2)
    figures = client.usage.figures(client.model)
    assert (figures["input_tokens"], figures["audio_tokens"]) == (100, 60)
    # Per million: 40 text tokens at 2, 60 audio tokens at 40, 10 output tokens at 10. The second reply is cached.
    assert figures["cost"] == pytest.approx((40 * 2 + 60 * 40 + 10 * 10) / 1e6)
    client.usage.write(tmp_path, client.model)
    assert read_usage(tmp_path) == client.usage


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"base_url": "localhost:8000"}, "not an address"),
        ({"base_url": "http://localhost:abc/v1"}, "not an address"),
        ({"base_url": "http://localhost:99999/v1"}, "not an address"),
        ({"base_url": "http://local host/v1"}, "not an address"),
        ({"base_url": "http://[::1/v1"}, "not an address"),
        ({"base_url": "https://host/v1#key"}, "a query or a fragment"),
        ({"timeout": float("nan")}, "timeout=nan must be a finite number above 0"),
        ({"timeout": float("inf")}, "timeout=inf must be a finite number above 0"),
        ({"requests_per_minute": float("inf")}, "must be a finite number above 0"),
        ({"temperature": float("nan")}, "temperature=nan must be a finite number, 0 or more"),
        (
            {"price_input": float("inf"), "price_output": 1},
            "price_input=inf must be a finite number",
        ),
        ({"base_url": "https://me:pw@host/v1"}, "holds a user, a password, a query or a fragment"),
        (
            {"base_url": "https://host/v1?key=abc"},
            "holds a user, a password, a query or a fragment",
        ),
        ({"answers": "guess"}, "must be one of auto, logprobs, samples"),
        ({"samples": 0}, "samples=0 must be a finite number, 1 or more"),
        ({"timeout": 0}, "timeout=0 must be a finite number above 0"),
        ({"temperature": 0}, "makes all samples alike"),
        ({"price_input": 1}, "give both"),
        ({"dtype": "bfloat16"}, "dtype=bfloat16: a model behind an endpoint has no weights"),
        ({"extra_body": {"logprobs": False}}, "extra_body.logprobs is set by the run"),
    ],
)
def test_invalid_settings_are_refused(settings, problem):
    with pytest.raises(ValueError, match=problem):
        ApiModel(**{"base_url": "http://localhost:8000/v1", "name": "m", **settings})
