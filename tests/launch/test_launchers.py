"""The scripts that the launchers submit to SLURM, and the errors about invalid options of launchers."""

import os
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from repository import ROOT

from dramaeval.compat.submitit import Executor
from dramaeval.config import fields, registration
from dramaeval.config.sweep_options import LocalOptions, SlurmOptions
from dramaeval.launch.local import LocalJobRunner, LocalLauncher, gpu_problems
from dramaeval.launch.runner import command
from dramaeval.launch.slurm import _without_job_variables, additional_problems, make_executor
from dramaeval.launch.sweeps.folder import SweepFolder

GOLDEN = Path(__file__).with_name("golden")
LAUNCHERS = sorted(path.stem for path in (ROOT / "configs/hydra/launcher").glob("*.yaml"))


def options(name, *overrides):
    registration.register()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        words = [f"hydra/launcher={name}", *overrides]
        config = compose("launch", overrides=words, return_hydra_config=True)
    settings = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    settings.pop("_target_")
    return settings


def script(name, *overrides, count=3, folder="/sweep"):
    text, command = make_executor(Path(folder), options(name, *overrides)).preview(count)
    text = text.replace(shlex.quote(sys.executable), "PYTHON")
    return f"{shlex.join(command)}\n\n{text}"


def test_these_tests_cover_every_launcher_in_configs():
    assert LAUNCHERS == ["local_processes", "slurm", "slurm_cpu"]


@pytest.mark.parametrize(
    ("file", "name", "overrides"),
    [
        ("slurm.txt", "slurm", ()),
        ("slurm_cpu.txt", "slurm_cpu", ()),
        (
            "slurm_everything.txt",
            "slurm",
            (
                "hydra.launcher.partition=a100,h100", "hydra.launcher.account=speech",
                "hydra.launcher.qos=long", "hydra.launcher.constraint=a100|h100", "hydra.launcher.nodes=2",
                "hydra.launcher.gpus_per_node=4", "hydra.launcher.mem_gb=0.5",
                "hydra.launcher.setup=['module load cuda','export X=\"a b\"']",
                "hydra.launcher.srun_args=[--label]",
                "hydra.launcher.additional={reservation: x, mail-user: me@x.org, exclusive: true}",
            ),
        ),
    ],
)  # fmt: skip
def test_the_submitted_script_equals_the_golden_file(file, name, overrides):
    words = [word.replace("a100,h100", "'a100,h100'") for word in overrides]
    assert script(name, *words) == (GOLDEN / file).read_text()


def test_a_single_run_is_submitted_without_an_array():
    text = script("slurm", count=1)
    assert "--array" not in text
    assert text.startswith("sbatch --output=/sweep/.submitit/%j_0_log.out SCRIPT")


def test_the_script_quotes_a_hostile_folder_name():
    folder = "/it's $(touch hurt)\n#SBATCH --wrap=x\ntouch hurt\n"
    text = script("slurm", folder=folder).partition("\n\n#!/bin/bash")[2]
    quoted = shlex.quote(f"{folder}/.submitit")
    (head, srun) = text.split("export SUBMITIT_EXECUTOR=slurm\n")
    assert "hurt" not in head
    assert quoted in srun
    shown = subprocess.run(
        ["bash", "-c", 'srun() { printf "%s\\0" "$@"; }\n' + srun.replace("PYTHON", "python")],
        capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    assert f"--output={folder}/.submitit/%A_%a_%t_log.out" in shown
    assert shown[-2] == f"{folder}/.submitit"


def test_the_executor_is_named_slurm():
    """Inside the job, submitit compares this name with the variable SUBMITIT_EXECUTOR."""
    assert Executor.name() == "slurm"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"partitoin": "x"}, "hydra.launcher.partitoin is not a setting; there are name, partition, account, qos, constraint"),
        ({"partitoin": "x"}, "poll_seconds. Did you mean partition?"),
        ({"nodes": 0}, "hydra.launcher.nodes=0 must be 1 or more."),
        ({"max_num_timeout": -1}, "hydra.launcher.max_num_timeout=-1 must be 0 or more."),
        ({"nodes": "two"}, "nodes='two' must be a whole number of 1 or more."),
        ({"gpus_per_node": True}, "must be a whole number of 1 or more or null"),
        ({"partition": "a\ntouch hurt"}, "must be one line of text or null"),
        ({"setup": "module load cuda"}, "setup='module load cuda' must be a list of texts"),
        ({"additional": {"comment": "a\nb"}}, "must be options by name"),
        ({"constraint": "a\rb"}, "must be one line of text or null"),
        ({"name": "a\x0b#SBATCH --wrap=x"}, "must be one line of text"),
        ({"setup": ["module load cuda\ntouch hurt"]}, "must be a list of texts of one line each"),
        ({"srun_args": ["a\u2028b"]}, "must be a list of texts of one line each"),
    ],
)  # fmt: skip
def test_an_invalid_option_is_an_error_that_says_what_is_valid(given, expected):
    (problem,) = fields.problems(SlurmOptions, {**options("slurm"), **given}, "hydra.launcher")
    assert expected in problem


@pytest.mark.parametrize(
    "name",
    ["comment\ntouch hurt\n#SBATCH --x", "a b", "a=b", "--mail-user", "-p", "", "a;b", "Ä", "a--b", 3],
)  # fmt: skip
def test_an_additional_option_with_an_invalid_name_is_refused(name):
    (problem,) = additional_problems({name: "x"})
    assert f"{name!r} is not the name of an sbatch option" in problem


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("output", "output: use nothing: logs go to the sweep's folder"),
        ("outp", "outp: sbatch may read it as --output: use nothing"),
        ("ntasks_per_node", "ntasks_per_node: use hydra.launcher.tasks_per_node"),
        ("t", "t: sbatch may read it as --time: use hydra.launcher.timeout_min"),
    ],
)
def test_an_additional_option_that_another_setting_sets_is_refused(name, use):
    (problem,) = additional_problems({name: "x"})
    assert problem.startswith(f"hydra.launcher.additional.{use}")


def test_other_additional_options_are_accepted():
    assert (
        additional_problems(["mail-user", "mem_per_cpu", "reservation", "gres", "exclusive"]) == []
    )


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_config_files_of_launchers_have_exactly_the_declared_options(name):
    declared = LocalOptions if name == "local_processes" else SlurmOptions
    assert set(options(name)) == set(fields.settings_of(declared))
    assert fields.problems(declared, options(name)) == []


def test_parallel_runs_use_different_gpus(monkeypatch):
    job_runner = LocalJobRunner(parallel=2, gpus_per_run=2, poll_seconds=1)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert job_runner._environment(1)["CUDA_VISIBLE_DEVICES"] == "2,3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert job_runner._environment(0)["CUDA_VISIBLE_DEVICES"] == "4,5"
    assert job_runner._environment(1)["CUDA_VISIBLE_DEVICES"] == "6,7"


@pytest.mark.parametrize(
    ("visible", "parallel", "gpus_per_run", "fix"),
    [
        ("0,1", 4, 1, "has 2: set hydra.launcher.parallel=2"),
        ("4,5,6", 2, 2, "needs 4 GPUs, and CUDA_VISIBLE_DEVICES=4,5,6 has 3: set hydra.launcher.parallel=1"),
        ("0", 1, 2, "leave hydra.launcher.gpus_per_run out"),
        ("", 1, 1, "has 0: leave hydra.launcher.gpus_per_run out"),
        ("0,-1,1", 2, 1, "has 1: set hydra.launcher.parallel=1"),
        ("GPU-1a,GPU-2b", 2, 1, None),
        ("", 4, None, None),
        ("0", "two", 1, None),
    ],
)  # fmt: skip
def test_runs_without_a_visible_gpu_are_refused(monkeypatch, visible, parallel, gpus_per_run, fix):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    hydra = {
        "job": {"chdir": False},
        "sweeper": {"_target_": "hydra_plugins.dramaeval_sweeps.Grid"},
    }
    launcher = LocalLauncher(parallel=parallel, gpus_per_run=gpus_per_run, poll_seconds=1)
    launcher.config = OmegaConf.create({"hydra": hydra, "launch": {"detach": False}})
    problems = launcher.problems()
    assert len(problems) == (fix is not None)
    assert all(fix in problem for problem in problems)


@pytest.mark.parametrize(
    ("files", "parallel", "gpus_per_run", "fix"),
    [
        (["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"], 4, 1, "has 2: set hydra.launcher.parallel=2."),
        (["nvidia0", "nvidia1"], 2, 1, None),
        (["nvidia0"], 1, 2, "has 1: leave hydra.launcher.gpus_per_run out."),
        (["nvidia0"], 4, None, None),
        (["nvidiactl", "kfd"], 4, 1, None),
        ([], 4, 1, None),
    ],
    ids=str,
)  # fmt: skip
def test_the_device_files_are_counted_without_cuda_visible_devices(
    monkeypatch, tmp_path, files, parallel, gpus_per_run, fix
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in files:
        (tmp_path / name).touch()
    problems = gpu_problems(parallel, gpus_per_run, tmp_path)
    assert len(problems) == (fix is not None)
    assert all(problem.endswith(f"{tmp_path} {fix}") for problem in problems)


@pytest.mark.parametrize("name", ["account", "partition", "qos", "constraint"])
@pytest.mark.parametrize("given", [None, "speech"])
def test_the_users_defaults_of_sbatch_hold_where_the_option_is_null(monkeypatch, name, given):
    variables = ("ACCOUNT", "PARTITION", "QOS", "CONSTRAINT", "TIMELIMIT", "EXPORT")
    for variable in variables:
        monkeypatch.setenv(f"SBATCH_{variable}", "mine")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    before = dict(os.environ)
    chosen = dict.fromkeys(("account", "partition", "qos", "constraint"), "theirs") | {name: given}
    with _without_job_variables(chosen):
        kept = {key for key in os.environ if key.startswith(("SBATCH_", "SLURM_"))}
    assert kept == {"SLURM_CONF"} | ({f"SBATCH_{name.upper()}"} if given is None else set())
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    "name",
    ["plain", "a b", "it's", "a\\b", "a\\'b", "end\\", 'q"q', "${seed}", "\\${seed}", "a=b,c", "é", "#x", "$(ls)"],
)  # fmt: skip
def test_the_shown_command_names_the_folder_of_the_sweep(name):
    shown = command(SweepFolder(Path("/sweeps") / name), "resume=true")
    word = shlex.split(shown)[-1]
    (override,) = OverridesParser.create().parse_overrides([word])
    # As in a configuration, where ${…} would be an interpolation unless it is escaped.
    node = OmegaConf.create({"seed": 3, "sweep": override.value()})
    assert node.sweep == f"/sweeps/{name}"
    assert shown.endswith(" sweep=/sweeps/plain") == (name == "plain")


@pytest.fixture
def sweep(launch):
    """Run the command of a sweep; in these tests it ends before it submits anything."""
    return partial(launch, "-m")


@pytest.mark.slow
def test_launch_check_prints_the_script_and_ranks_and_writes_no_file(sweep, tmp_path):
    done = sweep(
        "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=2", "launch.check=true", "seed=0,1",
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Nothing is submitted." in done.stdout
    assert "#SBATCH --array=0-1%2" in done.stdout
    assert "(array task 1): seed=1" in done.stdout
    assert "rank 1 of 2: node 0 of 1, local rank 1, log logs/rank-1.log" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_all_problems_of_a_launcher_are_reported_together(sweep, tmp_path):
    done = sweep(
        "hydra/launcher=slurm", "hydra.launcher.partitoin=x", "hydra.launcher.nodes=0", "launch.check=true",
        "hydra.launcher.additional={array: 1}", f"hydra.sweep.dir={tmp_path}/50%",
        "hydra.launcher.timeout_min=5",
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for expected in (
        "has 5 problems", "signal_delay_s=300 is not shorter than timeout_min=5",
        "there are name, partition, account, qos", "Did you mean partition?",
        "hydra.launcher.nodes=0", "additional.array: use hydra.launcher.array_parallelism",
        "SLURM reads % and \\",
    ):  # fmt: skip
        assert expected in done.stderr, expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["launch.detach=true"], "launch.detach=true needs a cluster"),
        (["launch.check=true", "task.data.test=/nope.jsonl"], "/nope.jsonl does not exist"),
        (["hydra/launcher=basic"], "choose one of local_processes, slurm, slurm_cpu"),
        (["hydra/sweeper=basic"], "hydra/sweeper: choose one of grid, optuna"),
        (["trainer.args.learning_rate=interval(0.1,1)"], "hydra/sweeper=optuna"),
        (["hydra.sweep.subdir=same", "seed=0,1"], "differs between the runs"),
        (["hydra/sweeper=optuna"], "There is nothing to search: give search=lora"),
        (["hydra/sweeper=optuna", "hydra.sweeper.n_trails=3"], "there are params, n_trials"),
        (["sweep=x"], "sweep=… and -m exclude each other"),
    ],
    ids=lambda one: one[0] if isinstance(one, list) else "",
)  # fmt: skip
def test_problems_of_a_sweep_are_reported_without_a_traceback(sweep, tmp_path, words, expected):
    done = sweep(*words, f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("sweeper", [(), ("hydra/sweeper=optuna", "search=lora")])
def test_a_secret_is_refused_before_it_is_written_anywhere(sweep, tmp_path, sweeper):
    done = sweep(
        "+logger.wandb.api_key=0123456789abcdef",
        f"task.system=hf_{'a1' * 17},b",
        "seed=0,1",
        *sweeper,
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
    )
    assert done.returncode == 1
    assert "logger.wandb.api_key is a secret" in done.stderr
    assert "task.system seems to hold a secret" in done.stderr
    assert "0123456789abcdef" not in done.stderr + done.stdout
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
