"""The table of a sweep, read from the folders of its runs."""

import csv
import json
import re
from math import sqrt

import pytest
from rich.console import Console

from dramaeval.launch.sweeps.folder import SweepFolder
from dramaeval.launch.sweeps.result_rows import collect, seed_groups
from dramaeval.launch.sweeps.state import RunState
from dramaeval.launch.sweeps.table import FILES, for_terminal, summary, write_tables


def done(objective):
    return RunState(state="done", objective=objective, seconds=61.0)


def test_every_run_has_a_row_with_its_state(add_run, tmp_path):
    add_run(0, ["peft=lora", "seed=0"], done(0.25), pearson=0.25, interval=[0.1, 0.4])
    add_run(1, ["peft=none", "seed=0"], RunState(state="failed", reason="no memory", seconds=5.0))
    add_run(2, ["peft=ia3", "seed=0"], RunState(state="running", preempted=2, restarted=1))
    add_run(3, ["peft=dora", "seed=0"])
    add_run(4, ["peft=qlora", "seed=0"], done(0.5), pearson=0.5, interval=[0.3, 0.6])
    add_run(
        5, ["peft=prompt", "seed=0"], RunState(state="pruned", reason="at step 4", objective=0.9)
    )
    table = write_tables(tmp_path)
    assert [row.description for row in table.rows] == [
        "done", "failed: no memory", "running, preempted 2 times, restarted 1 time", "waiting", "done",
        "pruned: at step 4",
    ]  # fmt: skip
    assert table.best.runs == [4]  # a pruned run cannot be the best one
    assert [row.run.number for row in table.unfinished] == [1, 2, 3]
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["peft"] for row in rows] == ["lora", "none", "ia3", "dora", "qlora", "prompt"]
    assert (rows[0]["val_pearson"], rows[0]["val_low"], rows[0]["val_high"]) == (
        "0.25",
        "0.1",
        "0.4",
    )
    assert rows[1]["reason"] == "no memory"
    assert [row["best"] for row in rows].count("True") == 1
    table_json = json.loads((tmp_path / "sweep.json").read_text())
    assert table_json["best"]["runs"] == [4]
    assert table_json["counts"] == {"done": 2, "failed": 1, "pruned": 1, "running": 1, "waiting": 1}
    page = (tmp_path / "sweep.html").read_text()
    assert page.count("<tr") == 7
    assert page.count("seed=0") == 1
    assert table_json["common"] == {"seed": "0"}
    assert [run["overrides"] for run in table_json["runs"]][:2] == [
        {"peft": "lora"},
        {"peft": "none"},
    ]
    assert "seed" not in rows[0]
    assert summary(table).endswith("best: 4-00000004 with objective 0.500 [0.300, 0.600]")
    assert "0.500 [0.300, 0.600]" in page
    # Without a process that starts runs, a waiting run counts as never started.
    assert write_tables(tmp_path, running=False).rows[3].description == "never started"


def test_the_best_run_of_a_minimisation_has_the_least_objective(add_run, tmp_path):
    (tmp_path / "multirun.yaml").write_text("hydra:\n  sweeper:\n    direction: minimize\n")
    add_run(0, ["peft=lora"], done(0.5))
    add_run(1, ["peft=none"], done(0.25))
    assert collect(SweepFolder(tmp_path)).best.runs == [1]


def test_the_best_settings_have_the_best_mean_over_seeds(add_run, tmp_path):
    """Run 0 has the highest objective, but its settings have a mean of 0.3 and those of peft=none one of 0.4."""
    runs = [
        ("lora", 0, 0.7),
        ("lora", 1, -0.1),
        ("none", 0, 0.3),
        ("none", 1, 0.5),
        ("ia3", 0, 0.9),
    ]
    for number, (peft, seed, value) in enumerate(runs):
        add_run(number, ["task=role", f"peft={peft}", f"seed={seed}"], done(value))
    add_run(5, ["task=role", "peft=ia3", "seed=1"], RunState(state="failed", reason="no memory"))
    table = write_tables(tmp_path)
    best = table.best
    assert (best.settings, best.runs, best.mean) == ({"peft": "none"}, [2, 3], pytest.approx(0.4))
    # Half the interval: t(0.975, 1 degree) = 12.7062, standard deviation √0.02, divided by √2.
    assert best.high - best.mean == pytest.approx(12.7062 * 0.1, rel=1e-5)
    assert summary(table).endswith(
        "; best over seeds: peft=none with mean objective 0.400 [-0.871, 1.671] over 2 seeds (2-00000002, 3-00000003)"
    )
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows if row["best"] == "True"] == ["2", "3"]
    assert json.loads((tmp_path / "sweep.json").read_text())["best"]["runs"] == [2, 3]
    page = (tmp_path / "sweep.html").read_text()
    assert page.count('class="best"') == 2
    assert page.count("task=role") == 1


def test_seeds_are_grouped_with_students_interval(add_run, tmp_path):
    for number, (peft, seed, value) in enumerate(
        [("lora", 0, 0.2), ("lora", 1, 0.4), ("lora", 2, 0.6), ("none", 0, 0.1)]
    ):
        add_run(number, [f"peft={peft}", f"seed={seed}"], done(value))
    lora, full = seed_groups(collect(SweepFolder(tmp_path)))
    assert (lora.settings, list(lora.runs)) == ({"peft": "lora"}, [0, 1, 2])
    # The standard deviation is 0.2; t(0.975, 2 degrees) = 4.30265 (any table of Student's t).
    assert lora.mean == pytest.approx(0.4)
    assert lora.high - lora.mean == pytest.approx(4.30265 * 0.2 / sqrt(3), rel=1e-5)
    assert lora.mean - lora.low == pytest.approx(lora.high - lora.mean)
    assert (full.mean, full.low, full.high) == (0.1, None, None)
    console = Console(width=200)
    with console.capture() as capture:
        console.print(for_terminal(collect(SweepFolder(tmp_path))))
    assert "over 3 seeds" in capture.get()
    assert "peft=none: 0.100 over 1 seed\n" in re.sub(r" +\n", "\n", capture.get())


def test_without_several_seeds_there_are_no_groups(add_run, tmp_path):
    add_run(0, ["peft=lora", "seed=1"], done(0.2))
    add_run(1, ["peft=none", "seed=1"], done(0.3))
    assert seed_groups(collect(SweepFolder(tmp_path))) == []


def test_markup_in_settings_is_escaped_in_the_table(add_run, tmp_path):
    hostile = '</td><script>alert("x")</script>, "quoted"\nnext line'
    add_run(0, [f"evaluation.group_by={hostile}", "seed=0"], done(0.1))
    add_run(
        1, ["evaluation.group_by=[bold]x", "seed=0"], RunState(state="failed", reason="<b>=cmd")
    )
    write_tables(tmp_path)
    page = (tmp_path / "sweep.html").read_text()
    assert "<script>" not in page
    assert "<b>" not in page
    with (tmp_path / "sweep.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["evaluation.group_by"] == hostile


def test_an_empty_sweep_writes_all_table_files(tmp_path):
    write_tables(tmp_path)
    assert all((tmp_path / name).is_file() for name in FILES)
