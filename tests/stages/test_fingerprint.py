"""A resumed run keeps results only if they were made from the same data and models."""

import json
import logging
import os
import shutil
from types import SimpleNamespace

import pytest
from clips import write_clips
from damage import damage
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.data.atomic_files import write_folder_atomic
from dramaeval.data.content_hashes import ContentHashes
from dramaeval.data.fingerprint import RECORDS
from dramaeval.data.manifest import digest, seal
from dramaeval.data.record_format import RecordFormat
from dramaeval.data.records import read_records
from dramaeval.distributed.processes import SINGLE_PROCESS
from dramaeval.models.checkpoint import Checkpoint
from dramaeval.stages import fingerprint, prepare
from dramaeval.stages.context import RunContext
from dramaeval.stages.fingerprint import fingerprint_of
from dramaeval.stages.pipeline import run_in_process
from dramaeval.stages.read_splits import Splits
from dramaeval.stages.run_folder import RunFolder

TINY = PACKAGE / "models" / "tiny"
FORMAT = RecordFormat(text_fields=(), annotated=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    for seed, split in enumerate(("train", "val", "test")):
        write_clips(folder, split, 3, seed=seed, seconds=(0.5,))
    return folder


@pytest.fixture
def data(written, tmp_path):
    return shutil.copytree(written, tmp_path / "data")


@pytest.fixture
def start(data, tmp_path):
    """A function that opens a run folder as a run does, with real data and model files but without loading a model."""

    def open_run(
        settings=None, *, folder="run", files=None, model=TINY, checkpoint=None, audio=True
    ):
        files = files or {name: data / f"{name}.jsonl" for name in ("train", "test")}
        paths = {name: str(file) for name, file in files.items() if name != "input"}
        config = OmegaConf.create(
            {
                "seed": 1,
                "task": {"name": "role", "data": {"audio_root": None, **paths}},
                "input": str(files.get("input")),
                "model": {"path": str(model)},
                "checkpoint": checkpoint and str(checkpoint),
                **(settings or {}),
            }
        )
        splits = {name: read_records(file, FORMAT).records for name, file in files.items()}
        context = SimpleNamespace(
            config=config,
            splits=Splits(splits),
            family=SimpleNamespace(takes_audio=audio, path=str(model), revision=None),
            base=None,
            checkpoint=checkpoint and Checkpoint(checkpoint, adapter=True),
        )
        run = RunFolder(tmp_path / folder)
        run.open(config, fingerprint_of(context, ContentHashes(tmp_path / "hashes")))
        return run

    return open_run


@pytest.fixture
def lines(data):
    """A function that changes the lines of a split in place."""

    def change(split, function):
        file = data / f"{split}.jsonl"
        old = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(line) + "\n" for line in function(old)))

    return change


def invert_ratings(records):
    for record in records:
        ratings = record["annotations"]
        record["annotations"] = {key: [6 - x for x in values] for key, values in ratings.items()}
    return records


def rename(records):
    return [{**records[0], "id": "other"}, *records[1:]]


def test_a_run_with_results_is_refused_after_its_ratings_changed(start, lines, tmp_path):
    start()
    lines("test", invert_ratings)
    start()  # the folder has no results yet, so changed data are accepted
    (tmp_path / "run" / "model").mkdir()
    start()
    lines("test", invert_ratings)
    with pytest.raises(ConfigError) as caught:
        start()
    (problem,) = caught.value.problems
    expected = "test: 3 of 3 records have other texts or ratings (test-0, test-1, test-2) in "
    assert expected + str(tmp_path / "data" / "test.jsonl") in problem
    assert "start a new run in another folder with hydra.run.dir=…" in problem
    assert f"stages=[evaluate] checkpoint={tmp_path / 'run'}" in problem


@pytest.mark.parametrize(
    "file",
    ["predictions.jsonl", "predictions.zero_shot.jsonl", "checkpoints/checkpoint-2/x", "model/x", "export/x",
     "controls/test.silence.jsonl", "controls/test.prosody.reason.json", "prepared/test.jsonl"],
)  # fmt: skip
def test_every_kind_of_result_counts_as_work(tmp_path, file):
    assert not RunFolder(tmp_path).has_work
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    assert RunFolder(tmp_path).has_work


@pytest.fixture
def resumed(start, tmp_path):
    """A function: start, write a checkpoint, call ``change``, start again; return the problems of the second start."""

    def start_change_start(change, first=None, second=None):
        start(**(first or {}))
        (tmp_path / "run/checkpoints/checkpoint-2").mkdir(parents=True, exist_ok=True)
        change()
        try:
            start(**(second or first or {}))
        except ConfigError as error:
            return "\n".join(error.problems)
        return ""

    return start_change_start


def test_deleted_lines_renamed_ids_and_replaced_clips_are_refused(resumed, lines, data):
    assert "train: 2 of 3 records are missing (train-1, train-2) in " in resumed(
        lambda: lines("train", lambda records: records[:1])
    )
    shutil.rmtree(data.parent / "run")
    assert "test: 1 of 3 records has another id (test-0 → other) in " in resumed(
        lambda: lines("test", rename)
    )
    shutil.rmtree(data.parent / "run")
    assert "test: 1 of 3 records has another clip (test-1) in " in resumed(
        lambda: shutil.copy(data / "train0.wav", data / "test1.wav")
    )


def test_a_new_split_is_refused(resumed, data):
    files = {name: data / f"{name}.jsonl" for name in ("train", "val", "test")}
    problem = resumed(lambda: None, second={"files": files})
    assert "val: 3 records are new (val-0, val-1, val-2) in " in problem


@pytest.mark.parametrize("key", ["model", "checkpoint"])
def test_a_changed_model_or_checkpoint_is_refused_and_a_moved_one_is_not(resumed, tmp_path, key):
    model, moved = tmp_path / "model", tmp_path / "moved"
    model.mkdir()
    for name in ("config.json", "model.safetensors"):
        (model / name).write_text(name)

    def change():
        (model / "README.md").write_text("Read me.")
        shutil.move(model, moved)

    assert not resumed(change, {key: model}, {key: moved})
    problem = resumed(lambda: (moved / "model.safetensors").write_text("x"), {key: moved})
    assert f"{key}: model.safetensors in {moved} changed" in problem


def test_another_commit_of_a_hub_model_is_refused(start, tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "hub_commit", lambda *_: "abc")
    start(model="some/model").predictions("final").touch()
    start(model="some/model")
    monkeypatch.setattr(fingerprint, "hub_commit", lambda *_: "def")
    with pytest.raises(ConfigError, match="model: some/model at abc → some/model at def"):
        start(model="some/model")


def test_a_changed_rubric_is_refused_with_its_key(resumed):
    first, second = ({"rubric": {"dimensions": [{"title": t}, {"title": "A"}]}} for t in "PQ")
    problem = resumed(lambda: None, {"settings": first}, {"settings": second})
    assert "(rubric.dimensions.0.title: P → Q)" in problem


def test_data_moved_to_another_folder_are_accepted(resumed, data, tmp_path):
    moved = tmp_path / "elsewhere"
    files = {name: moved / f"{name}.jsonl" for name in ("train", "test")}
    assert not resumed(lambda: shutil.move(data, moved), second={"files": files})


def test_a_path_that_is_not_valid_utf8_is_compared_and_named(resumed, data, lines):
    file = data / os.fsdecode(b"x\xff.jsonl")
    shutil.copy(data / "test.jsonl", file)
    first = {"files": {"test": file}}
    assert not resumed(lambda: None, first)
    problem = resumed(lambda: file.write_text(file.read_text().replace("test-0", "other")), first)
    assert rf"(test-0 → other) in {data}/x\udcff.jsonl" in problem


def test_other_clips_to_score_are_refused(resumed, data, lines):
    first = {"files": {"input": data / "val.jsonl"}}
    assert not resumed(lambda: None, first)
    problem = resumed(lambda: lines("val", rename), first)
    assert "input: 1 of 3 records has another id (val-0 → other) in " in problem


def test_without_a_fingerprint_only_the_paths_are_compared(resumed, data, tmp_path, caplog):
    def delete_fingerprint():
        for name in (fingerprint.NAME, RECORDS, "dramaeval_manifest.json"):
            (tmp_path / "run" / name).unlink()

    assert not resumed(delete_fingerprint)
    assert "are not compared" in caplog.text
    # Then only the paths can be compared.
    files = {"train": data / "train.jsonl", "test": data / "copy.jsonl"}
    shutil.copy(data / "test.jsonl", files["test"])
    assert "task.data.test: " in resumed(delete_fingerprint, second={"files": files})


@pytest.mark.parametrize("way", ["cut off", "changed"])
def test_a_damaged_fingerprint_is_written_again_or_refused(resumed, lines, tmp_path, caplog, way):
    file = tmp_path / "run" / fingerprint.NAME
    assert not resumed(lambda: damage(file, way))
    assert "Data and model are the same, so it is written again" in caplog.text
    assert json.loads(file.read_text())["splits"]["test"]["records"] == 3
    problem = resumed(lambda: (damage(file, way), lines("test", rename)))
    assert f"{fingerprint.NAME} has " in problem
    assert "choose another folder" in problem


def test_changed_records_are_refused_even_if_their_own_fingerprints_are_damaged(
    resumed, lines, tmp_path
):
    file = tmp_path / "run" / RECORDS
    problem = resumed(lambda: (damage(file, "cut off"), lines("test", rename)))
    assert "test: 3 records → 3, or other ones in " in problem


def test_results_of_another_judge_are_refused(start, tmp_path):
    folder = start()

    def put_judge(content):
        write_folder_atomic(
            folder.model, lambda path: (path / "adapter_model.safetensors").write_bytes(content)
        )

    put_judge(b"one")
    folder.check_trained()
    folder.predictions("final").touch()
    folder.check_trained()
    start().check_trained()  # a later start accepts it too
    put_judge(b"two")
    with pytest.raises(ConfigError, match=r"that made predictions\.jsonl \(adapter_model"):
        folder.check_trained()
    folder.predictions("final").unlink()
    folder.check_trained()


def test_a_second_run_does_not_hash_the_same_clips_again(start, monkeypatch, tmp_path):
    monkeypatch.setattr("dramaeval.data.content_hashes.SETTLED_NS", 0)
    read = []

    def counted(file, size):
        read.append(file.suffix)
        return digest(file, size)

    monkeypatch.setattr("dramaeval.data.content_hashes.digest", counted)
    for folder, clips in (("run", 6), ("another run", 0)):
        monkeypatch.setattr("dramaeval.data.content_hashes._KNOWN", {})  # as in a new process
        start(folder=folder)
        assert read.count(".wav") == clips
        read.clear()


def test_runs_of_a_sweep_must_have_the_same_data(start, lines, data, tmp_path):
    for name in ("sweep/0-a", "sweep/1-b"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text("{}")
    start(folder="sweep/0-a")
    lines("test", rename)
    start(folder="sweep/1-b")  # the other run has no results yet
    start(folder="sweep/0-a").predictions("final").touch()
    start({"seed": 3}, folder="sweep/1-b")
    # Other files and a judge without audio are not compared with the other run.
    start(files={"test": data / "val.jsonl"}, folder="sweep/1-b")
    shutil.copy(data / "train0.wav", data / "test1.wav")
    start(audio=False, folder="sweep/1-b")
    with pytest.raises(
        ConfigError, match=r"0-a, a run of this sweep, .*: clips of .*test\.jsonl changed"
    ):
        start(folder="sweep/1-b")
    lines("test", invert_ratings)
    with pytest.raises(ConfigError, match=r"0-a, a run of this sweep, .*: \S+/test\.jsonl changed"):
        start({"seed": 3}, folder="sweep/1-b")
    start(folder="a run of no sweep")


@pytest.mark.slow
def test_a_prepared_line_is_refused_if_its_clip_changed(composed, data, tmp_path):
    settings = ("device=cpu", "logger=none", "task.data.val=null", "task.data.test=null")
    config = composed(*settings, "stages=[prepare]", f"task.data.train={data / 'train.jsonl'}")
    prepare.run(RunContext(config, RunFolder(tmp_path / "run")))
    words = (
        *settings,
        "task=processed",
        f"task.data.train={tmp_path / 'run/prepared/train.jsonl'}",
    )
    second = RunContext(composed(*words, "stages=[train]"), RunFolder(tmp_path / "second"))
    assert second.made_from.splits["train"]["records"] == 30  # 3 records × 10 dimensions
    shutil.copy(data / "train1.wav", data / "train2.wav")
    with pytest.raises(ConfigError, match=r"clips of 10 lines changed .*\(train-2/pitch_dynamics"):
        fingerprint_of(second, ContentHashes())


@pytest.mark.slow
def test_a_finished_run_is_not_reported_for_other_ratings_or_another_judge(
    composed, data, lines, tmp_path, small_judge
):
    config = composed(
        small_judge,
        "device=cpu", "logger=none", "evaluation.html=false", "evaluation.draws=20", "peft.r=2",
        f"task.data.train={data / 'train.jsonl'}", f"task.data.test={data / 'test.jsonl'}",
        "task.dimensions=[pitch_dynamics]", "evaluation.zero_shot=false", "trainer.args.max_steps=1",
        "trainer.args.per_device_train_batch_size=1", "trainer.args.save_strategy=no",
        "trainer.args.eval_strategy=no", "trainer.args.load_best_model_at_end=false",
    )  # fmt: skip
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def run(folder):
        run_in_process(config.copy(), tmp_path / folder, SINGLE_PROCESS, lambda *_: ())
        file = tmp_path / folder / "metrics.json"
        return json.loads(file.read_text())["test"]["final"]["macro"]["pearson"]

    try:
        before = run("one")
        assert run("one") == before
        model = tmp_path / "one" / "model"
        shutil.copytree(model, tmp_path / "kept")
        weights = load_file(model / "adapter_model.safetensors")
        other = {name: weight + 1 for name, weight in weights.items()}
        save_file(other, model / "adapter_model.safetensors")
        seal(model)
        with pytest.raises(ConfigError, match=r"another judge .* predictions\.jsonl"):
            run("one")
        shutil.rmtree(model)
        shutil.move(tmp_path / "kept", model)
        assert run("one") == before
        lines("test", invert_ratings)
        with pytest.raises(ConfigError, match="other texts or ratings"):
            run("one")
        # Pearson changes its sign if every rating r becomes 6 - r.
        assert run("two") == pytest.approx(-before)
    finally:
        root.handlers, root.level = handlers, level
