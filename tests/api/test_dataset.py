"""AudioDataset: its items, its random draws, and the effect of is_perturb."""

import json
import re

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf

from dramaeval import AudioDataset
from dramaeval.config.composition import compose
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.data.problems import BadRecordsError
from dramaeval.stages.builders import build_task

SAMPLE = PACKAGE / "data" / "sample"


def score_of(item):
    return int(re.fullmatch(r"<answer>(\d)</answer>", item["solution"])[1])


def audio_part(item):
    parts = [p for m in item["prompt"] if isinstance(m["content"], list) for p in m["content"]]
    (audio,) = [part for part in parts if part["type"] == "audio"]
    return audio["audio_url"]


def test_items_have_question_score_and_audio_of_their_record(make_clips):
    file = make_clips("train", 5)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    data = AudioDataset(file)
    assert len(data) == 5
    titles = {one.title: one.annotation for one in data.task.dimensions}
    asked_dimensions = set()
    for epoch in range(10):
        data.set_epoch(epoch)
        for line, item in zip(lines, data, strict=True):
            (user,) = [message for message in item["prompt"] if message["role"] == "user"]
            text = user["content"][1]["text"]
            assert line["transcript"] in text
            (title,) = [title for title in titles if f"{title}: " in text]
            assert score_of(item) in line["annotations"][titles[title]]
            asked_dimensions.add((line["id"], title))
    assert len(asked_dimensions) == 5 * 10  # ten epochs ask a record for each of the ten dimensions
    wave, rate = soundfile.read(audio_part(data[3]), dtype="float32")
    item = data[3]
    assert rate == 16000
    assert item["audio"].dtype == np.float32
    np.testing.assert_array_equal(item["audio"], wave)
    half = AudioDataset(file, 8000)[3]["audio"]
    assert abs(len(half) - len(wave) / 2) <= 1
    assert item["prompt"] == data[-2]["prompt"]
    with pytest.raises(IndexError):
        data[5]


@pytest.mark.slow
def test_draws_depend_on_seed_and_epoch_and_not_on_the_order_of_access(make_clips):
    file = make_clips("train", 6)

    def drawn_items(data, order):
        return {at: (data[at]["prompt"][-1]["content"][1], data[at]["solution"]) for at in order}

    first = drawn_items(AudioDataset(file, seed=1), range(6))
    assert drawn_items(AudioDataset(file, seed=1), [4, 0, 3, 1, 5, 2]) == first
    assert drawn_items(AudioDataset(file, seed=2), range(6)) != first
    rebuilt = AudioDataset(file, seed=1)
    rebuilt.set_epoch(1)
    assert drawn_items(rebuilt, range(6)) != first


def test_archetype_records_of_the_sample():
    data = AudioDataset(SAMPLE / "archetype" / "val.jsonl")
    lines = [json.loads(x) for x in (SAMPLE / "archetype" / "val.jsonl").read_text().splitlines()]
    by_clip = {line["wav_path"].rpartition("/")[2]: line for line in lines}
    for epoch in (0, 1):
        data.set_epoch(epoch)
        for at in range(8):
            item = data[at]
            line = by_clip[audio_part(item).rpartition("/")[2]]
            assert line["question"] in item["prompt"][-1]["content"][1]["text"]
            given = {
                int(value)
                for values in line["annotations"].values()
                for value in values
                if value not in (None, "N/A")
            }
            assert score_of(item) in given


@pytest.mark.slow
def test_the_dataset_name_of_a_record_decides_its_task(make_clips):
    names = [
        "ROLE", "RoleCaption", "RoleEmotion", "RoleVariation", "RoleVariationCaption", "RoleReasoning",
        "RoleAllFixOrder", "RoleAllFixOrderConsistent", "RoleAllFlexOrder", "RoleAllFlexOrderConsistent",
    ]  # fmt: skip
    file = make_clips("train", len(names))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line, name in zip(lines, names, strict=True):
        # Rater k gives the score k to every dimension.
        line["annotations"] = {key: [1, 2, 3, 4, 5] for key in line["annotations"]}
        line |= {
            "dataset_name": name,
            "audio_info": {"audio_caption": "A caption.", "emotion_caption": "An emotion."},
        }
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = AudioDataset(file)
    assert [record.part for record in data.records] == names
    epochs = []
    for epoch in range(4):
        data.set_epoch(epoch)
        epochs.append(dict(zip(names, data, strict=True)))
    for items in epochs:
        for name in ("ROLE", "RoleVariation", "RoleReasoning"):
            assert score_of(items[name]) in range(1, 6)
        for name, thought in (
            ("RoleCaption", "A caption."), ("RoleVariationCaption", "A caption."), ("RoleEmotion", "An emotion."),
        ):  # fmt: skip
            answer = rf"<think>{thought}</think>\n<answer>[1-5]</answer>"
            assert re.fullmatch(answer, items[name]["solution"])
    answers = {
        name: [re.findall(r"\[(\w+)\]([1-5])", items[name]["solution"]) for items in epochs]
        for name in names
        if name.startswith("RoleAll")
    }
    titles = [one.label for one in data.task.parts["RoleAllFixOrder"].dimensions]
    for name, of_epochs in answers.items():
        assert all(sorted(title for title, _ in pairs) == sorted(titles) for pairs in of_epochs)
        orders = {tuple(title for title, _ in pairs) for pairs in of_epochs}
        assert (orders == {tuple(titles)}) == ("FixOrder" in name)
        one_rater = [len({score for _, score in pairs}) == 1 for pairs in of_epochs]
        assert all(one_rater) if name.endswith("Consistent") else not any(one_rater)
    wordings = {items["RoleReasoning"]["prompt"][-1]["content"][1]["text"] for items in epochs}
    assert len(wordings) == 4
    # A trained judge is loaded from the settings of the mixture, so they must build the same task.
    rebuilt = build_task(OmegaConf.create({"task": data.task.built_from}))
    record, (dimension, *_) = data.records[1], data.task.dimensions_for(data.records[1])
    assert rebuilt.questions(record, [dimension]) == data.task.questions(record, [dimension])


def test_problems_of_several_tasks_in_one_file_are_reported_together(make_clips):
    file = make_clips("train", 3)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[0]["annotations"]["dynamic_range"] = [9] * 6
    lines[1] |= {"dataset_name": "RoleCaption", "transcript": ""}
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{\n")
    with pytest.raises(BadRecordsError) as raised:
        AudioDataset(file)
    assert sorted((each.line, each.key) for each in raised.value.problems if each.key) == [
        (1, "dynamic_range"), (2, "transcript"),
    ]  # fmt: skip
    assert [each.line for each in raised.value.problems if each.key is None] == [4]
    lines[1]["dataset_name"] = "RoleCaptain"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(BadRecordsError, match="RoleCaptain"):
        AudioDataset(file)
    assert AudioDataset(make_clips("other", 1)).task.name == "role"


def test_missing_ratings_are_never_drawn(make_clips):
    file = make_clips("train", 2)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        line["annotations"] = {
            key: [None, "N/A", 4, None, None, None] if key == "dynamic_range" else [None] * 6
            for key in line["annotations"]
        }
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = AudioDataset(file)
    for epoch in range(12):
        data.set_epoch(epoch)
        assert [score_of(item) for item in data] == [4, 4]


def test_processed_lines_are_items_unchanged(tmp_path):
    wave = np.sin(np.arange(8000) / 10).astype(np.float32) / 2
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    text = {"type": "text", "text": "How warm is it? Answer with <answer>score</answer>."}

    def line(url, score, **extra):
        content = [{"type": "audio", "audio_url": url}, text]
        return {
            "prompt": [{"role": "user", "content": content}], "solution": f"<answer>{score}</answer>", **extra
        }  # fmt: skip

    inline_samples = [0.25, -0.5] * 2000
    file = tmp_path / "processed.jsonl"
    lines = [line("a.wav", 4), line("gone.wav", 2, audio=inline_samples, id="inline")]
    file.write_text("".join(json.dumps(one) + "\n" for one in lines))
    data = AudioDataset(file)
    assert [data[at]["prompt"] for at in (0, 1)] == [one["prompt"] for one in lines]
    assert [data[at]["solution"] for at in (0, 1)] == ["<answer>4</answer>", "<answer>2</answer>"]
    np.testing.assert_array_equal(data[0]["audio"], wave)
    np.testing.assert_array_equal(data[1]["audio"], np.array(inline_samples, dtype=np.float32))
    assert [record.id for record in data.records] == ["processed.jsonl:1", "inline"]

    bad = [
        {**line("a.wav", 4), "solution": "good"},
        line("gone.wav", 2),
        {"prompt": "text", "solution": "<answer>1</answer>"},
    ]
    file.write_text("".join(json.dumps(one) + "\n" for one in bad))
    with pytest.raises(BadRecordsError) as raised:
        AudioDataset(file)
    assert {(one.line, one.key) for one in raised.value.problems} == {
        (1, "solution"), (2, "prompt"), (3, "prompt"),
    }  # fmt: skip


def test_bad_files_are_reported(tmp_path, make_clips):
    with pytest.raises(BadRecordsError, match="no such file"):
        AudioDataset(tmp_path / "none.jsonl")
    file = make_clips("train", 2)
    file.write_text(file.read_text().replace("train1.wav", "lost.wav"))
    with pytest.raises(BadRecordsError, match=r"lost\.wav"):
        AudioDataset(file)


def test_is_perturb_changes_the_audio_of_an_item_and_not_its_question(make_clips):
    file = make_clips("train", 3)
    plain, first, rebuilt = AudioDataset(file), *(AudioDataset(file, is_perturb=True) for _ in "ab")
    for at in range(3):
        assert first[at]["prompt"] == plain[at]["prompt"]
        assert first[at]["solution"] == plain[at]["solution"]
        np.testing.assert_array_equal(first[at]["audio"], rebuilt[at]["audio"])
        assert len(first[at]["audio"]) != len(plain[at]["audio"])
    rebuilt.set_epoch(1)
    assert any(len(first[at]["audio"]) != len(rebuilt[at]["audio"]) for at in range(3))


@pytest.fixture
def speech_table(make_clips, tmp_path, monkeypatch):
    """A CSV file with decimal commas and two splits, and the task that reads it."""
    monkeypatch.setenv("DRAMAEVAL_CACHE", str(tmp_path / "cache"))
    names = [
        json.loads(line)["wav_path"] for line in make_clips("train", 3).read_text().splitlines()
    ]
    rows = [f"{names[0]};4,0;ann;train", f"{names[1]};2,0;ann;train", f"{names[2]};1,0;ann;test"]
    file = tmp_path / "table.csv"
    file.write_text("\n".join(["clip;naturalness;rater;split", *rows]), encoding="utf-8")
    return file, build_task(compose("task=speech"))


def test_a_table_can_be_given_with_settings_of_the_importer(speech_table, tmp_path):
    file, task = speech_table
    settings = {"task": task, "audio_root": tmp_path, "importer": {"decimal": "comma"}}
    data = AudioDataset(file, **settings)
    assert [score_of(item) for item in data] == [4, 2]
    assert len(data[0]["audio"]) > 1000
    assert [score_of(item) for item in AudioDataset(file, split="test", **settings)] == [1]


def test_problems_of_a_table_are_reported_with_its_rows(speech_table, tmp_path):
    file, task = speech_table
    text = file.read_text(encoding="utf-8").replace("2,0", "7,0")
    file.write_text(text, encoding="utf-8")
    settings = {"task": task, "audio_root": tmp_path, "importer": {"decimal": "comma"}}
    with pytest.raises(BadRecordsError) as refusal:
        AudioDataset(file, **settings)
    (problem,) = refusal.value.problems
    assert (problem.file, problem.line, problem.key) == (file, 3, "naturalness")
    with pytest.raises(ConfigError, match=r"importer\.decimals"):
        AudioDataset(file, **settings | {"importer": {"decimals": "comma"}})
    with pytest.raises(ConfigError, match="without the importer"):
        AudioDataset(
            PACKAGE / "data" / "sample" / "realism" / "val.jsonl", importer={"decimal": "comma"}
        )


RUBRIC = """\
name: delivery
version: "1.0"
language: en
dimensions:
  - key: warmth
    annotation: dynamic_range
    title: Warmth of the voice
    scale: [1, 2, 3, 4, 5]
    description: How warm the voice sounds.
    scores: {1: cold, 2: cool, 3: neutral, 4: warm, 5: hearty}
"""


def test_a_rubric_given_as_a_file_or_a_name_replaces_that_of_the_records(make_clips, tmp_path):
    file, rubric = make_clips("train", 3), tmp_path / "delivery.yaml"
    rubric.write_text(RUBRIC)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line, item in zip(lines, AudioDataset(file, rubric=rubric), strict=True):
        (user,) = [message for message in item["prompt"] if message["role"] == "user"]
        assert "Warmth of the voice: " in user["content"][1]["text"]
        assert score_of(item) in line["annotations"]["dynamic_range"]
    with pytest.raises(BadRecordsError) as raised:
        AudioDataset(file, rubric="archetype")
    assert {found.problem for found in raised.value.problems} == {"missing annotation field"}
    with pytest.raises(ConfigError, match=r"neither a YAML file nor one of .*naturalness"):
        AudioDataset(file, rubric="delivry")
    rubric.write_text(RUBRIC.replace("scale: [1", "scale: [7"))
    with pytest.raises(ConfigError, match="delivery"):
        AudioDataset(file, rubric=rubric)
    rubric.write_text("a: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        AudioDataset(file, rubric=rubric)
    with pytest.raises(ValueError, match="leave out task or rubric"):
        AudioDataset(file, rubric=rubric, task=AudioDataset(file).task)
    lines[0]["dataset_name"] = "RoleEmotion"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ValueError, match="RoleEmotion"):
        AudioDataset(file, rubric="realism")
