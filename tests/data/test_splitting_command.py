"""The command that splits one file of records."""

import json
import resource
import subprocess
import sys

import numpy as np
import soundfile
from repository import ROOT

from dramaeval.data.splitting import main


def write_file(folder, count):
    """Write records with different clips; two records share a character and four share a scene."""
    rng, lines = np.random.default_rng(0), []
    for number in range(count):
        soundfile.write(folder / f"{number}.wav", rng.uniform(-0.1, 0.1, 3200), 16_000)
        record = {"id": f"r{number}", "wav_path": f"{number}.wav", "note": "é"}
        record |= {"character": f"c{number // 2}", "local_scene": f"s{number // 4}"}
        lines.append(json.dumps(record, ensure_ascii=False))
    file = folder / "clips.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file, lines


def test_lines_are_copied_and_scenes_kept_together(tmp_path, capsys):
    file, lines = write_file(tmp_path, 40)
    assert main([str(file), "train=3", "test=1", "--seed", "4"]) == 0
    train, test = (
        (tmp_path / f"clips.{name}.jsonl").read_text("utf-8").splitlines()
        for name in ("train", "test")
    )
    assert (len(train) % 4, len(test) % 4, len(test) in (8, 12)) == (0, 0, True)  # whole scenes
    assert sorted(train + test) == sorted(lines)
    scenes = [{json.loads(line)["local_scene"] for line in part} for part in (train, test)]
    assert not scenes[0] & scenes[1]
    out = capsys.readouterr().out
    assert f"clips.train.jsonl: {len(train)} records" in out
    assert "No two parts share a character (20), scene (10), clip (40).\n" in out
    assert main([str(file), "train=3", "test=1"]) == 1
    assert "the file exists already" in capsys.readouterr().err


def test_the_command_reports_that_texts_were_kept_apart(tmp_path, capsys):
    file, lines = write_file(tmp_path, 16)
    records = [json.loads(line) for line in lines]
    for number, record in enumerate(records):
        record |= {"transcript": f"Text {number % 4}", "system": f"tts {number // 4}"}
        del record["character"], record["local_scene"]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert main([str(file), "train=3", "test=1"]) == 0
    parts = [(tmp_path / f"clips.{name}.jsonl").read_text() for name in ("train", "test")]
    texts = [{json.loads(line)["transcript"] for line in part.splitlines()} for part in parts]
    assert [len(each) for each in texts] == [3, 1]
    assert not texts[0] & texts[1]
    assert (
        "No two parts share a clip (16), transcript (4). Several systems say the same texts, so the transcript "
        "counts too. No record has a character or scene."
    ) in capsys.readouterr().out
    # With --apart only the given keys are kept apart.
    file.rename(tmp_path / "other.jsonl")
    assert main([str(tmp_path / "other.jsonl"), "train=3", "test=1", "--apart", "system"]) == 0
    assert "No two parts share a system (4).\n" in capsys.readouterr().out


def test_the_command_reports_errors_without_a_traceback(tmp_path, capsys):
    file, _ = write_file(tmp_path, 4)
    command = [sys.executable, "-m", "dramaeval.data.splitting", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "nothing is left for" in done.stderr
    assert "form 1 group (the largest has 4)" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "2.wav").unlink()
    assert main([str(file)]) == 1
    assert "r2" in capsys.readouterr().err


def test_a_part_that_cannot_be_written_is_an_error_and_leaves_no_file(tmp_path, capsys):
    file, lines = write_file(tmp_path, 16)
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * len(lines[0]), kept[1]))  # as on a full disk
    try:
        assert main([str(file), "test=1", "train=3"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert "File too large. Nothing was split." in capsys.readouterr().err
    assert not list(tmp_path.glob("clips.*.jsonl"))
