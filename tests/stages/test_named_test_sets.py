"""Several named test sets: task.data.test={studio: a.jsonl, wild: b.jsonl}."""

import json
from types import SimpleNamespace

import pytest

from dramaeval.config.composition import compose
from dramaeval.config.problems import ConfigError
from dramaeval.config.run_id import run_id
from dramaeval.config.schema import PACKAGE
from dramaeval.config.task_schema import evidence_splits, held_out_splits, split_files
from dramaeval.launch.sweeps.result_rows import Row, RunState, Table, _agreement_in
from dramaeval.launch.sweeps.table import as_csv
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.pipeline import run_stages
from dramaeval.stages.run_folder import RunFolder

SAMPLE = PACKAGE / "data" / "sample" / "realism"


def write_part(file, split, part):
    """Write a slice of the sample's lines with absolute paths of clips."""
    lines = (SAMPLE / f"{split}.jsonl").read_text("utf-8").splitlines()[part]
    records = [json.loads(line) for line in lines]
    for record in records:
        record["wav_path"] = str(SAMPLE / record["wav_path"])
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return file


def run_in(composed, folder, *overrides):
    config = composed(
        "device=cpu",
        "evaluation.draws=20",
        "logger=none",
        "task.dimensions=[pitch_dynamics,emotion_accuracy]",
        *overrides,
    )
    check(config)
    folder.mkdir()
    run_folder = RunFolder(folder)
    run_folder.open(config)
    objective = run_stages(RunContext(config, run_folder))
    return objective, json.loads(run_folder.metrics.read_text())


def test_each_test_set_is_a_split_in_the_given_order():
    data = {"val": "v.jsonl", "test": {"wild": "b.jsonl", "studio": "a.jsonl"}, "sample": "s"}
    assert split_files(data) == {
        "val": "v.jsonl",
        "test_wild": "b.jsonl",
        "test_studio": "a.jsonl",
    }
    names = ["about", "test_wild", "gain", "test_studio", "val"]
    assert held_out_splits(names) == ["val", "test_wild", "test_studio"]
    assert evidence_splits(["val", "test_wild", "test_studio"]) == ["test_wild", "test_studio"]
    assert evidence_splits(["val"]) == ["val"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("{a/b: x.jsonl}", "task.data.test.a/b: the name of a test set has letters"),
        ("{a: x.jsonl, A: x.jsonl}", "names that differ in capital letters only"),
        ("{a: null}", "task.data.test.a has no file"),
        ("{}", "names no test set"),
        ("{a: absent.jsonl}", "task.data.test.a: absent.jsonl does not exist"),
        ("[x.jsonl]", "task.data.test=['x.jsonl'] must be text, a mapping of names to texts"),
        ("3", "task.data.test=3 must be text"),
    ],
)
def test_invalid_test_sets_are_reported(tmp_path, monkeypatch, value, problem):
    (tmp_path / "x.jsonl").write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        check(compose("stages=[evaluate]", f"task.data.test={value}"))
    assert problem in str(error.value)


def test_the_id_of_a_run_does_not_depend_on_the_test_files():
    one = run_id(compose("task.data.test=a.jsonl"))
    assert one == run_id(compose("task.data.test=b.jsonl"))
    assert one == run_id(compose("task.data.test={studio: a.jsonl, wild: b.jsonl}"))


@pytest.mark.slow
def test_metrics_reports_and_comparisons_have_each_test_set(composed, tmp_path, small_judge):
    studio = write_part(tmp_path / "studio.jsonl", "test", slice(0, 8))
    wild = write_part(tmp_path / "wild.jsonl", "val", slice(0, 7))
    sets = f"task.data.test={{studio: {studio}, wild: {wild}}}"
    evaluate = ("stages=[evaluate]", small_judge)
    objective, metrics = run_in(composed, tmp_path / "run", *evaluate, sets)
    assert {name for name in metrics if name.startswith("test")} == {"test_studio", "test_wild"}
    assert metrics["about"]["records"] == {"test_studio": 8, "test_wild": 7}
    assert objective == metrics["test_studio"]["zero_shot"]["macro"]["pearson"]
    assert list(metrics["slices"]) == ["test_studio", "test_wild"]
    drop = metrics["drop"]["test_wild"]["zero_shot"]
    assert drop["from"] == "test_studio"
    a, b = (metrics[name]["zero_shot"]["macro"]["mse"] for name in ("test_wild", "test_studio"))
    assert drop["macro"]["mse"]["difference"] == pytest.approx(a - b)
    for page in ("report.html", "report.test_wild.html"):
        assert "Test sets: macro over the dimensions" in (tmp_path / "run" / page).read_text()
    predictions = (tmp_path / "run" / "predictions.zero_shot.jsonl").read_text().splitlines()
    splits = [json.loads(line)["split"] for line in predictions]
    assert (splits.count("test_studio"), splits.count("test_wild")) == (16, 14)

    single = f"task.data.test={wild}"
    _, alone = run_in(composed, tmp_path / "single", *evaluate, single)
    assert alone["test"] == metrics["test_wild"]
    assert "drop" not in alone
    assert not list((tmp_path / "single").glob("report.test*"))

    compare = [f"runs=[{tmp_path / 'run'}]", "stages=[report]", "evaluation.draws=20"]
    config = composed(*compare)
    check(config)
    from dramaeval.stages import report

    (tmp_path / "page").mkdir()
    report.run(config, RunFolder(tmp_path / "page"))
    names = {
        path.relative_to(tmp_path / "page").as_posix() for path in (tmp_path / "page").rglob("*")
    }
    assert {
        "report.html",
        "report.test_wild.html",
        "comparison.json",
        "comparison.test_wild.json",
        "tables/test_sets.csv",
        "tables/test_wild/overview.csv",
    } <= names
    values = json.loads((tmp_path / "page" / "comparison.json").read_text())
    mse = values["drop"]["run"]["test_wild"]["macro"]["mse"]["difference"]
    assert mse == pytest.approx(a - b)


def test_the_table_of_a_sweep_has_columns_for_each_test_set():
    macro = {"pearson": 0.5, "interval": {"pearson": [0.25, 0.75]}}
    summary = {"final": {"macro": macro}}
    agreement = _agreement_in({"test_studio": summary, "test_wild": summary, "about": {}})
    run = SimpleNamespace(number=0, id="x", folder=PACKAGE, settings={})
    row = Row(run=run, state=RunState(), agreement=agreement, seconds=1.0)
    table = Table((row,))
    assert table.splits == ["test_studio", "test_wild"]
    head, line = as_csv(table).splitlines()
    values = dict(zip(head.split(","), line.split(","), strict=True))
    assert values["test_pearson"] == ""
    assert (values["test_wild_pearson"], values["test_wild_low"]) == ("0.5", "0.25")
