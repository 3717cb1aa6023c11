"""The command line: help without heavy libraries, plans, and errors that name the user's settings."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from repository import REAL, ROOT

REALISM = REAL / "realism" / "test.jsonl"
needs_real = pytest.mark.skipif(not REALISM.is_file(), reason=f"the real clips are not at {REAL}")


#: Options of launch.py that need no model, each with a text that its output contains.
HELP_OPTIONS = {
    "--help": "task=role peft=lora",
    "--cfg job --resolve": "max_steps:",
    "--info defaults-tree": "task: role",
    "--version": f"dramaeval {version('dramaeval')}",
}


@pytest.mark.slow
def test_help_options_import_no_heavy_library():
    """All options run in one process, which at the end has every module that any of them imports."""
    code = (
        "import sys, runpy\n"
        "from hydra.core.global_hydra import GlobalHydra\n"
        f"for words in {list(HELP_OPTIONS)!r}:\n"
        "    sys.argv = ['launch.py', *words.split()]\n"
        "    GlobalHydra.instance().clear()\n"
        "    try:\n"
        "        runpy.run_path('launch.py', run_name='__main__')\n"
        "    except SystemExit as end:\n"
        "        assert not end.code, end.code\n"
        "heavy = ('torch', 'transformers', 'trl', 'peft', 'librosa', 'scipy', 'numpy')\n"
        "print('HEAVY', [name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for text in HELP_OPTIONS.values():
        assert text in done.stdout, text
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_help_explains_groups_recipes_and_results(launch):
    text = launch("--help").stdout
    for expected in (
        "qwen2_audio, qwen2_audio_14b",
        "zero: none, zero1",
        "task=role peft=lora",
        "plan=true",
        "outputs/",
        "-m ",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("peft", "lines"),
    [
        ("none", ["8,397,094,912 parameters", "audio      636,968,960 parameters"]),
        ("lora", ["39,976,960 trainable", "audio      636,968,960 parameters, 0 trainable"]),
    ],
)
def test_a_plan_of_the_7b_model_needs_no_model_files(launch, tmp_path, peft, lines):
    done = launch(
        "model=qwen2_audio_7b", f"peft={peft}", "plan=true", "plan_device=cuda",
        f"hydra.run.dir={tmp_path}", allowed_hosts=["huggingface.co"],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for line in lines:
        assert line in done.stdout
    for word in ("records", "questions", "hours of audio", "steps", "weights", "activations"):
        assert word in done.stdout
    assert not (tmp_path / "checkpoints").exists()


def test_a_hub_model_without_a_network_is_refused_without_a_traceback(launch, tmp_path):
    done = launch(
        "model=qwen2_audio_7b", "stages=[evaluate]", "plan_force=true",
        f"hydra.run.dir={tmp_path / 'run'}",
        allowed_hosts=["huggingface.co"],
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "model.path=/folder/of/the/model" in done.stderr


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["model.path=/not/there"], ["model.path=/not/there is not a folder"]),
        (
            [
                "peft.r=-1",
                "trainer.args.lerning_rate=1",
                "task.data.train=/no.jsonl",
                "task.data.test=/none.jsonl",
            ],
            [
                "The configuration has 4 problems",
                "peft.r=-1 must be 1 or more",
                "Did you mean trainer.args.learning_rate",
                "/no.jsonl does not exist",
                "/none.jsonl does not exist",
            ],
        ),
        (["device=cuda"], ["PyTorch sees no GPU"]),
        (
            ["adapt=ears"],
            ["ears is not a part of this model. Choose from llm, audio, projector, all"],
        ),
    ],
)
def test_invalid_settings_are_reported_without_a_traceback(launch, tmp_path, words, messages):
    if words == ["device=cuda"]:
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
    done = launch(*words, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 1
    for message in messages:
        assert message in done.stderr
    assert "Traceback" not in done.stderr


@needs_real
def test_real_records_with_a_missing_clip_stop_the_run_and_are_named(launch, tmp_path):
    done = launch(
        f"task.data.test={REALISM}", "stages=[evaluate]", f"hydra.run.dir={tmp_path / 'run'}"
    )
    assert done.returncode == 1
    assert "role-eval_v1_0000" in done.stderr
    assert "wav_path" in done.stderr
    assert "task.data.on_bad=skip" in done.stderr


@needs_real
def test_on_bad_skip_scores_the_real_records_without_the_missing_clip(
    launch, tmp_path, read_metrics
):
    done = launch(
        f"task.data.test={REALISM}", "stages=[evaluate]", "task.data.on_bad=skip",
        "evaluation.html=false", f"hydra.run.dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "skipped 1 of 2 records" in done.stdout
    metrics = read_metrics(tmp_path / "run")
    assert metrics["about"]["skipped"]["test"]["records"] == 1
    assert metrics["about"]["skipped"]["test"]["problems"][0]["line"] == 1
    assert len(metrics["test"]["zero_shot"]["dimensions"]) == 10
    lines = (tmp_path / "run" / "predictions.zero_shot.jsonl").read_text().splitlines()
    assert len(lines) == 10
