"""The server of a run gives the scores of `Judge.load`, in batches also where the run keeps encodings of clips on disk."""

import pytest
from serving_clips import TASK, started, texts, wave

from dramaeval.config.serve_settings import TOKEN_VARIABLE
from dramaeval.serving.batching import Job
from dramaeval.serving.server import make_server
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from fastapi.testclient import TestClient

from dramaeval.serving.app import make_app


@pytest.mark.parametrize("token", ["secret", " secret\n", "\tà la carte Å", "Voilà"])
def test_the_token_is_the_text_without_the_white_space_around_it(
    composed, tmp_path, monkeypatch, token
):
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    config = composed("stages=[serve]", "serve.port=0", "device=cpu", "logger=none")
    client = TestClient(make_app(make_server(RunContext(config, RunFolder(tmp_path / "run")))))
    for sent, status in ((token.strip(), 200), (f"{token.strip()}x", 401), ("", 401)):
        headers = {"Authorization": f"Bearer {sent}".encode()}
        assert client.get("/v1/rubric", headers=headers).status_code == status


@pytest.mark.slow
def test_the_server_of_a_run_scores_in_batches_as_the_python_interface_does(
    composed, judge, tmp_path
):
    config = composed(
        "stages=[serve]", "serve.port=0", "device=cpu", "logger=none", f"cache.folder={tmp_path / 'cache'}",
        "serve.max_clips=3", "batch.eval_clips=2", "model.dtype=float32",
    )  # fmt: skip
    server = make_server(RunContext(config, RunFolder(tmp_path / "run")))
    assert (server.intake.max_clips, server.scorer.batch_clips) == (3, 2)
    passes = []
    tower = server.scorer.judge.model.model.audio_tower.conv1
    hook = tower.register_forward_hook(lambda *_: passes.append(1))
    jobs = [Job(clips=(wave(number),), texts=texts(number)) for number in range(3)]
    # Submitted before the thread starts, so that the batches have two clips and one.
    server.scorer.submit(jobs)
    with started(server.scorer):
        results = [job.result.result(60) for job in jobs]
    hook.remove()
    # The run's cache of encodings has no uploaded clips; were it used, each clip would be encoded alone.
    assert len(passes) == 2
    for job, result in zip(jobs, results, strict=True):
        expected = judge.score(job.clips[0], TASK, **job.texts)
        for key, score in expected.items():
            assert result[key].distribution == pytest.approx(score.distribution, abs=1e-6)
