"""Search with Optuna: distributions, pruning, and the records of finished, pruned and failed runs."""

import json
from types import SimpleNamespace

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from dramaeval.config.composition import choices
from dramaeval.config.problems import ConfigError
from dramaeval.data.manifest import sealed
from dramaeval.distributed.processes import SINGLE_PROCESS
from dramaeval.launch.sweeps.folder import SweepFolder
from dramaeval.launch.sweeps.pruning import PruningCallback, pruning
from dramaeval.launch.sweeps.search import STUDY, SearchSweeper, distribution, journal
from dramaeval.launch.sweeps.state import Pruned, RunState, change_state, read_state


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(0.0,1.0)", FloatDistribution(0.0, 1.0)),
        ("tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("int(interval(1,8))", IntDistribution(1, 8)),
        ("choice(lora,none)", CategoricalDistribution(["lora", "none"])),
        ("4,8", CategoricalDistribution(["4", "8"])),
        ("range(0,3)", CategoricalDistribution(["0", "1", "2"])),
    ],
)
def test_an_override_is_converted_to_an_optuna_distribution(text, expected):
    (override,) = OverridesParser.create().parse_overrides([f"x={text}"])
    assert distribution(override) == expected


def test_an_empty_interval_is_refused():
    (override,) = OverridesParser.create().parse_overrides(["x=interval(2,1)"])
    with pytest.raises(ValueError, match="a lower and a greater upper end"):
        distribution(override)


def test_the_pruning_callback_reports_values_and_stops_the_run_below_the_median(tmp_path):
    """The median of the finished trials at step 2 is 0.5: a trial with 0.4 is pruned, one with 0.6 continues."""
    (tmp_path / "multirun.yaml").write_text(
        "hydra: {sweeper: {pruner: {_target_: optuna.pruners.MedianPruner, n_startup_trials: 1}}}"
    )
    study = optuna.create_study(study_name=STUDY, storage=journal(tmp_path), direction="maximize")
    first = study.ask()
    first.report(0.5, 2)
    study.tell(first, 0.5)
    callbacks = []
    for number in (1, 2):
        study.ask()
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "trial.json").write_text(json.dumps({"trial": number}))
        callbacks.append(PruningCallback(folder, SINGLE_PROCESS, "pearson"))
    state = type("State", (), {"global_step": 2})
    callbacks[0].on_evaluate(None, state, None, metrics={"eval_pearson": 0.6})
    with pytest.raises(Pruned, match=r"at step 2 with eval_pearson 0\.400") as raised:
        callbacks[1].on_evaluate(None, state, None, metrics={"eval_pearson": 0.4})
    assert raised.value.objective == 0.4
    # A run without a defined correlation is not pruned.
    callbacks[1].on_evaluate(None, state, None, metrics={"eval_cross_entropy": 1.0})
    assert study.trials[1].intermediate_values == {2: 0.6}


def test_a_run_that_belongs_to_no_search_has_no_pruning_callback(tmp_path):
    assert pruning(tmp_path, SINGLE_PROCESS, None) == []


@pytest.fixture
def sweeper(add_run, tmp_path):
    """A search of four runs: two are done, one failed, one was pruned; its launcher finishes every run with 0.9."""
    states = [
        RunState(state="done", objective=0.1),
        RunState(state="failed"),
        RunState(state="pruned", objective=0.3),
        RunState(state="done", objective=0.4),
    ]
    for number, state in enumerate(states):
        words = ["seed=0", f"rate={number / 4}", f"layers={number + 1}", f"peft={PEFT[number]}"]
        folder = add_run(number, words, state)
        (folder / "trial.json").write_text(sealed({"trial": number}))
    (tmp_path / "multirun.yaml").write_text("hydra: {}\n")
    sampler = optuna.samplers.RandomSampler(seed=0)
    search = SearchSweeper(n_trials=4, n_jobs=1, direction="maximize", sampler=sampler, pruner=None)
    task = [
        "seed=0",
        "rate=interval(0.0,1.0)",
        "layers=int(interval(1,4))",
        "peft=choice(lora,none)",
    ]
    search.config = OmegaConf.create({"hydra": {"overrides": {"task": task}}})
    search.context = SimpleNamespace(config_loader=None)
    search.folder = SweepFolder(tmp_path)
    search.launcher = SimpleNamespace(run=finish, options={"parallel": 1}, is_check=True)
    return search


PEFT = ["lora", "none", "none", "lora"]


def finish(runs):
    for run in runs:
        change_state(run.folder, lambda state: state.ended("done", objective=0.9))


def test_a_search_without_its_journal_continues_from_the_results_of_its_runs(sweeper, tmp_path):
    """A new journal gets the settings and the results of all runs, and every run has a trial of its own."""
    expected = [
        {"rate": number / 4, "layers": number + 1, "peft": PEFT[number]} for number in range(4)
    ]
    for _ in range(2):  # without a journal, and with the new one
        runs = sweeper.folder.runs()
        sweeper.resume([run for run in runs if read_state(run.folder).state == "failed"])
        study = optuna.load_study(study_name=STUDY, storage=journal(tmp_path))
        assert [trial.params for trial in study.trials] == expected
        assert [type(trial.params["layers"]) for trial in study.trials] == [int] * 4
        names = ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]
        assert [trial.state.name for trial in study.trials] == names
        assert [trial.value for trial in study.trials if trial.state.name == "COMPLETE"] == [
            0.1,
            0.9,
            0.4,
        ]
        files = [json.loads((run.folder / "trial.json").read_text())["trial"] for run in runs]
        assert files == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("n_jobs", "launcher", "fits"),
    [
        (4, {"parallel": 1}, False),
        (1, {"parallel": 4}, False),
        (4, {"parallel": 4}, True),
        (17, {"array_parallelism": 16}, False),
        (1, {"array_parallelism": 16}, True),
        (16, {"array_parallelism": 16}, True),
    ],
    ids=str,
)
def test_runs_at_the_same_time_are_as_many_for_the_search_as_for_its_launcher(
    sweeper, n_jobs, launcher, fits
):
    sweeper.options["n_jobs"] = n_jobs
    sweeper.launcher.options = launcher
    if fits:
        sweeper.launcher.launch = lambda jobs, first: None
        sweeper.sweep(list(sweeper.config.hydra.overrides.task))
        return
    message = f"n_jobs={n_jobs} and hydra.launcher.{next(iter(launcher))}="
    with pytest.raises(ConfigError, match=message):
        sweeper.sweep(list(sweeper.config.hydra.overrides.task))


@pytest.mark.slow
def test_a_search_records_a_finished_a_pruned_and_a_failed_run_and_is_resumed(
    launch, tmp_path, make_clips
):
    """Three values, each once: one run ends before the pruner's first check, one is pruned, and one fails."""
    data = [f"task.data.{split}={make_clips(split, 6)}" for split in ("train", "val")]
    done = launch(
        "-m", "hydra/sweeper=optuna", *data, "device=cpu", "logger=none",
        "trainer.args.per_device_train_batch_size=2", "trainer.args.eval_steps=1",
        "trainer.args.save_steps=1", "evaluation.draws=20", "evaluation.html=false", "evaluation.zero_shot=false",
        "task.dimensions=[pitch_dynamics,trait_embodiment]", f"hydra.sweep.dir={tmp_path / 'sweep'}",
        "trainer.args.max_steps=choice(1,2,none)", "hydra.sweeper.n_trials=3",
        "hydra.sweeper.n_jobs=2", "hydra/launcher=local_processes", "hydra.launcher.parallel=2",
        "hydra.sweeper.sampler={_target_: optuna.samplers.BruteForceSampler, seed: 0}",
        "hydra.sweeper.pruner={_target_: optuna.pruners.ThresholdPruner, lower: 2, n_warmup_steps: 2}",
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    table = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    rows = {row["overrides"]["trainer.args.max_steps"]: row for row in table["runs"]}
    assert rows["1"]["state"] == "done"
    assert rows["2"]["state"] == "pruned"
    assert rows["2"]["reason"].startswith("at step 2 with eval_pearson")
    assert rows["none"]["state"] == "failed"
    assert "trainer.args.max_steps=none must be a whole number" in rows["none"]["reason"]
    assert table["best"]["runs"] == [rows["1"]["run"]]
    study = optuna.load_study(study_name=STUDY, storage=journal(tmp_path / "sweep"))
    assert study.best_value == rows["1"]["objective"] == rows["1"]["val_pearson"]
    states = {trial.params["trainer.args.max_steps"]: trial.state.name for trial in study.trials}
    assert states == {"1": "COMPLETE", "2": "PRUNED", "none": "FAIL"}
    # Resuming runs only the failed run again, as a new trial, since the search has already started its three runs.
    again = launch(f"sweep={tmp_path / 'sweep'}", "resume=true")
    assert again.returncode == 1, again.stdout
    assert "1 of 3 runs did not finish" in again.stderr
    study = optuna.load_study(study_name=STUDY, storage=journal(tmp_path / "sweep"))
    assert [trial.params["trainer.args.max_steps"] for trial in study.trials[3:]] == ["none"]
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text())["best"] == table["best"]


@pytest.mark.slow
@pytest.mark.parametrize("space", choices("search"))
def test_the_check_of_each_search_space_shows_two_runs_and_writes_no_file(
    launch, tmp_path, make_clips, space
):
    data = [f"task.data.{split}={make_clips(split, 4)}" for split in ("train", "val")]
    peft = {"lora": "lora", "full": "none"}[space]
    done = launch(
        "-m", "hydra/sweeper=optuna", f"search={space}", f"peft={peft}", "launch.check=true",
        "hydra.sweeper.n_jobs=2", "hydra.launcher.parallel=2", f"hydra.sweep.dir={tmp_path / 'sweep'}", *data,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trainer.args.learning_rate=") == 2
    assert not (tmp_path / "sweep").exists()
