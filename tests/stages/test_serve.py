"""The stage ``serve``: its settings are checked before weights load, and SIGTERM ends it after all accepted requests."""

import base64
import concurrent.futures
import json
import os
import re
import signal
import time
import urllib.error
import urllib.request

import pytest
from repository import ROOT

from dramaeval.config import extras
from dramaeval.config.composition import compose
from dramaeval.config.problems import ConfigError
from dramaeval.config.score_command import with_settings_of_serve
from dramaeval.config.serve_settings import TOKEN_VARIABLE
from dramaeval.stages import serve

CLIP = ROOT / "dramaeval/data/sample/realism/clips/realism_train_0000_aspen.mp3"
TEXTS = {"scene": "A hall.", "profile": "A guard.", "age": "Adult", "style": "Dry", "transcript": "No."}  # fmt: skip


def problems(composed, *overrides):
    return "\n".join(serve.check(composed("stages=[serve]", "serve.port=0", *overrides)))


def test_the_defaults_serve_on_loopback_and_other_stages_are_not_checked(composed):
    assert compose().serve.host == "127.0.0.1"
    assert problems(composed) == ""
    assert serve.check(composed("serve.host=no.such.host", "processes=2")) == []


def test_all_problems_of_the_settings_are_reported_together(composed, monkeypatch):
    monkeypatch.setenv(TOKEN_VARIABLE, "")
    text = problems(composed, "processes=2", "serve.max_clips=9", "serve.queue_clips=8", "serve.host=203.0.113.7")  # fmt: skip
    assert "processes=2: stages=[serve] serves with one process" in text
    assert "serve.max_clips=9 is more than serve.queue_clips=8" in text
    assert f"{TOKEN_VARIABLE} is empty" in text
    assert "serve.host=203.0.113.7 serve.port=0: the server cannot listen there" in text


@pytest.mark.parametrize("host", ["a" * 64, f"www.{'ü' * 64}.example", "a..b"])
def test_a_name_that_no_host_can_have_is_one_problem(composed, host):
    text = problems(composed, f"serve.host='{host}'")
    assert text.startswith(f"serve.host={host} serve.port=0: the server cannot listen there (")
    assert "\n" not in text


def test_a_port_in_use_is_named(composed):
    with serve.listening_socket("127.0.0.1", 0) as used:
        used.listen()
        port = used.getsockname()[1]
        assert f"serve.port={port}: the server cannot listen there (Address already in use)" in problems(
            composed, f"serve.port={port}"
        )  # fmt: skip


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "python_multipart", "prometheus_client"])
def test_a_missing_package_names_the_extra(composed, monkeypatch, package):
    spec_of = extras.find_spec
    monkeypatch.setattr(
        extras, "find_spec", lambda name: None if name == package else spec_of(name)
    )
    assert problems(composed) == (
        f"stages=[serve] needs the package {package}, which is not installed: pip install 'dramaeval[serve]'"
    )


def test_the_serve_command_is_translated_to_the_stage_and_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = compose(*with_settings_of_serve(["serve", "tiny", "serve.port=9000"]))
    assert ([stage.name for stage in config.stages], config.serve.port) == (["serve"], 9000)
    assert config.checkpoint is None
    assert with_settings_of_serve(["serve", "a b"]) == ["stages=[serve]", "checkpoint='a b'"]
    assert with_settings_of_serve(["serve", "checkpoint=RUN"]) == [
        "stages=[serve]",
        "checkpoint=RUN",
    ]
    assert with_settings_of_serve(["task=role"]) == ["task=role"]
    with pytest.raises(ConfigError, match="serves one judge: a, b"):
        with_settings_of_serve(["serve", "a", "b"])
    with pytest.raises(SystemExit):
        with_settings_of_serve(["serve", "--help"])
    assert "serve.port=9000" in capsys.readouterr().out


@pytest.mark.slow
def test_all_accepted_requests_are_answered_after_sigterm(start_launch, tmp_path):
    server = start_launch(
        "serve", "tiny", "device=cpu", "serve.port=0", "cache.enabled=false",
        f"hydra.run.dir={tmp_path / 'run'}",
    )  # fmt: skip
    address = wait_for(r"at (http://\S+)", server)
    body = json.dumps({"audio": base64.b64encode(CLIP.read_bytes()).decode(), "texts": TEXTS})

    def ask(_):
        """The status and the reply of one request; (None, None) if the connection was refused."""
        request = urllib.request.Request(
            f"{address}/v1/score", body.encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, None
        except OSError:
            return None, None

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        wait_until_up(address)
        requests = [pool.submit(ask, number) for number in range(48)]
        next(concurrent.futures.as_completed(requests))
        os.kill(server.pid, signal.SIGTERM)
        answers = [each.result() for each in requests]
    done = server.wait(60)
    assert done.returncode == 0, done.stderr
    answered = [answer for status, answer in answers if status == 200]
    assert 1 <= len(answered) < 48
    assert {status for status, _ in answers} <= {200, 503, None}
    (accepted,) = re.findall(r"It accepted (\d+) requests", done.stdout + done.stderr)
    assert len(answered) == int(accepted)
    first = answered[0]["results"][0]["scores"]
    for answer in answered:
        for key, score in answer["results"][0]["scores"].items():
            assert score["distribution"] == pytest.approx(first[key]["distribution"], abs=1e-6)


def wait_for(pattern, server):
    for _ in range(600):
        if match := re.search(pattern, server.stdout):
            return match[1]
        assert not server.has_ended, server.wait().stderr
        time.sleep(0.2)
    raise AssertionError(server.stdout)


def wait_until_up(address):
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{address}/healthz", timeout=10).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("The server does not answer.")
