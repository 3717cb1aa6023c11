"""`plan_runs` checks the runs of a sweep as each run checks itself, and writes no file."""

from pathlib import Path

import pytest

from dramaeval.config.problems import ConfigError
from dramaeval.launch.sweeps.checks import plan_runs
from dramaeval.launch.sweeps.folder import SweepRun
from dramaeval.models.loading import hub_is_reachable

EVALUATE = ("stages=[evaluate]", "task.dimensions=[pitch_dynamics]")


@pytest.fixture
def plans(composed, tmp_path):
    """A function that returns the plans of runs with these overrides; at the end no file may have been written."""

    def plan(*overrides_of_runs, machine=None, starts=True):
        configs = {
            SweepRun(number, "", tmp_path / f"{number}", ()): composed(*EVALUATE, *overrides)
            for number, overrides in enumerate(overrides_of_runs)
        }
        return plan_runs(list(configs), configs.__getitem__, machine or {}, starts=starts)

    yield plan
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_each_problem_names_all_runs_that_have_it(plans):
    missing = "task.data.test=/nope.jsonl"
    with pytest.raises(ConfigError) as raised:
        plans([missing, "seed=0"], [missing, "seed=1"], [], ["evaluation.draws=0", missing])
    assert raised.value.problems == (
        "0, 1, 3: task.data.test: /nope.jsonl does not exist.",
        "3: evaluation.draws=0 must be 1 or more.",
    )


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/nope", "model.path=/nope is not a folder"),
        (
            "Owner/none",
            "The model Owner/none is not in the local cache and the hub cannot be reached",
        ),
    ],
)
@pytest.mark.parametrize("starts", [True, False])
def test_missing_model_files_are_a_problem_unless_the_plan_is_for_another_machine(
    plans, monkeypatch, path, problem, starts
):
    """The settings of this model hold its architecture, so a plan for another machine needs none of its files."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub_is_reachable.cache_clear()
    run = ["model=qwen2_audio_7b", f"model.path={path}"]
    with pytest.raises(ConfigError, match=problem):
        plans([*run, "plan_force=true"], starts=starts)
    if not starts:
        (lines,) = plans([*run, "plan_device=cuda"], starts=False)
        assert any("8,397,094,912 parameters, cuda in bfloat16" in line for line in lines)
    hub_is_reachable.cache_clear()


def test_a_folder_without_weights_is_incomplete(plans, tmp_path_factory):
    tiny = Path("dramaeval/models/tiny").resolve()
    folder = tmp_path_factory.mktemp("tiny")
    for file in tiny.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).symlink_to(file)
    with pytest.raises(ConfigError, match=r"has no model\.safetensors"):
        plans([f"model.path={folder}"])


@pytest.mark.slow
def test_the_number_of_steps_follows_from_the_processes_of_the_launcher(plans):
    train = ["stages=[train]", "batch.per_device=2", "batch.global=null"]
    (here,), (there,), (gpus,) = (
        plans(train, starts=False),
        plans(train, machine={"processes": 4, "plan_device": "cuda"}, starts=False),
        plans([*train, "plan_device=cuda", "plan_gpus=8"], starts=False),
    )

    def steps(lines):
        return next(line.split(maxsplit=1)[1] for line in lines if line.startswith("  steps"))

    # 440 clips in three epochs: 220, 55 and ⌈27.5⌉ steps each.
    assert steps(here) == "660 of 2 clips"
    assert steps(there).startswith("165 of 8 clips: 2 a pass, 1 accumulated, 4 processes")
    assert steps(gpus).startswith("84 of 16 clips: 2 a pass, 1 accumulated, 8 processes")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        ("plan_device=cuda", "of GPU memory, and the GPU has 1.0 MiB"),
        ("plan_device=cpu", "the machine of plan_memory_gib has 1.0 MiB"),
    ],
)
def test_the_memory_of_the_described_machine_is_the_limit(plans, overrides, refused):
    with pytest.raises(ConfigError, match=refused):
        plans([overrides, "plan_memory_gib=0.001"])
    plans([overrides, "plan_memory_gib=0.001"], starts=False)


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        (["plan_memory_gib=80", "plan_device=cuda"], None),
        (["plan_device=cuda", "device=cuda", "model.dtype=float16"], None),
        (["plan_memory_gib=80"], "give the device of that machine too"),
        (["plan_device=cpu", "plan_gpus=2"], "plan_gpus=2 needs plan_device=cuda"),
        (["plan_device=cpu", "model.dtype=float16"], "model.dtype=float16 is for GPUs"),
        (["plan_device=cuda", "device=cpu"], "plan_device=cuda, but device=cpu"),
        (["plan_device=cuda", "plan_gpus=2", "processes=4"], "plan_gpus=2, but processes=4"),
    ],
)
def test_contradicting_settings_of_the_planned_machine_are_refused(problems_of, overrides, refused):
    problems = problems_of("plan=true", *overrides)
    assert len(problems) == (refused is not None)
    assert not refused or refused in problems[0]


def test_plan_device_and_plan_gpus_are_refused_without_plan_true(problems_of):
    (problem,) = problems_of("plan_device=cuda", "plan_gpus=2")
    assert "these describe another machine for plan=true" in problem
