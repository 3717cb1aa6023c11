"""AudioDataset: what its items hold, what is drawn, and what perturbation leaves alone."""

import json

import pytest

from dramaeval import AudioDataset

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


def test_a_rubric_of_a_file_or_of_this_name_replaces_that_of_the_records(make_clips, tmp_path):
    file, rubric = make_clips("train", 3), tmp_path / "delivery.yaml"
    rubric.write_text(RUBRIC)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line, item in zip(lines, AudioDataset(file, rubric=rubric), strict=True):
        (user,) = [message for message in item["prompt"] if message["role"] == "user"]
        assert "Warmth of the voice: " in user["content"][1]["text"]
        assert score_of(item) in line["annotations"]["dynamic_range"]
    with pytest.raises(BadRecordsError, match="missing annotation field"):
        AudioDataset(file, rubric="archetype")
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
