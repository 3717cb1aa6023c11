"""A run whose prompts hold the turns before a clip: trained, evaluated, and used from Python."""

import json

import pytest
from clips import write_clips

from dramaeval import Judge

DIMENSIONS = ("pitch_dynamics", "trait_embodiment")
CONTEXT = {
    "scene": "local_scene", "profile": "char_profile", "age": "char_age", "style": "char_style",
    "transcript": "transcript",
}  # fmt: skip


def with_turns(file):
    """The records with two turns, the second of which has the clip of the next record; returns them."""
    records = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    clips = [record["wav_path"] for record in records]
    for record, clip in zip(records, [*clips[1:], clips[0]], strict=True):
        record["turns"] = [
            {"role": "guard", "text": "Who goes there?"},
            {"role": "pilot", "text": "A friend.", "wav_path": clip},
        ]
    file.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return records


@pytest.mark.slow
def test_a_judge_is_trained_and_used_with_turns(launch, small_judge, tmp_path):
    files = {split: write_clips(tmp_path, split, 4, seed=n) for n, split in enumerate(("train", "val", "test"))}  # fmt: skip
    records = {split: with_turns(file) for split, file in files.items()}["test"]
    folder = tmp_path / "run"
    done = launch(
        small_judge, "task.turns=audio", f"task.dimensions=[{','.join(DIMENSIONS)}]",
        *(f"task.data.{split}={file}" for split, file in files.items()), "evaluation.draws=50",
        "trainer.args.max_steps=3", "trainer.args.learning_rate=1e-2", f"hydra.run.dir={folder}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").open(encoding="utf-8")]
    found = {
        (line["id"], line["dimension"]): line["expected"]
        for line in lines
        if line["split"] == "test"
    }
    judge, record = Judge.load(folder, device="cpu"), records[0]
    texts = {name: record[key] for name, key in CONTEXT.items()}
    turns = [turn | {"wav_path": str(tmp_path / turn["wav_path"])} if "wav_path" in turn else turn
             for turn in record["turns"]]  # fmt: skip
    scores = judge.score(str(tmp_path / record["wav_path"]), turns=turns, **texts)
    expected = {key: found[record["id"], key] for key in DIMENSIONS}
    assert {key: each.expected for key, each in scores.items()} == pytest.approx(expected, abs=1e-5)
    silent = judge.score(str(tmp_path / record["wav_path"]), turns=turns[:1], **texts)
    assert all(abs(silent[key].expected - expected[key]) > 1e-5 for key in DIMENSIONS)
