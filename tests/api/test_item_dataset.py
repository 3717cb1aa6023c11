"""Data sets of PyTorch and Hugging Face give the same training examples as the same items in a file."""

from __future__ import annotations

import json

import datasets
import numpy as np
import pytest
import soundfile
import torch
import trl

from dramaeval import AudioDataset, SFTTrainer
from dramaeval.api.item_dataset import ItemDataset
from dramaeval.config.schema import PACKAGE
from dramaeval.data.problems import BadRecordsError


class Items(torch.utils.data.Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def prompt(text):
    return [
        {"role": "system", "content": [{"type": "text", "text": "Listen."}]},
        {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": text}]},
    ]


@pytest.fixture
def items():
    rng = np.random.default_rng(0)
    solutions = ("<answer>4</answer>", "<answer>[Warmth]2[Pace]5</answer>", "<think>Low.</think> <answer>1</answer>")  # fmt: skip
    return [
        {
            "prompt": prompt(f"How warm is {number}?"),
            "solution": solution,
            "audio": (0.1 * rng.standard_normal(4000 + 800 * number)).astype(np.float32),
        }
        for number, solution in enumerate(solutions)
    ]


@pytest.fixture
def from_file(items, tmp_path):
    """An AudioDataset of a file that has the same items, with clips in audio files."""
    lines = []
    for number, item in enumerate(items):
        soundfile.write(tmp_path / f"{number}.wav", item["audio"], 16_000, subtype="FLOAT")
        lines.append(json.dumps({**item, "audio": f"{number}.wav"}))
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    return AudioDataset(tmp_path / "items.jsonl")


def in_form(form, items, tmp_path):
    if form == "torch":
        return Items([{**item, "audio": torch.from_numpy(item["audio"])} for item in items])
    if form == "paths":
        return [{**item, "audio": str(tmp_path / f"{n}.wav")} for n, item in enumerate(items)]
    if form == "path objects":
        return [{**item, "audio": tmp_path / f"{n}.wav"} for n, item in enumerate(items)]
    if form == "columns":
        rate = {"sampling_rate": 16_000}
        items = [{**item, "audio": {"array": item["audio"], **rate}} for item in items]
    return datasets.Dataset.from_list(items)


@pytest.mark.parametrize("form", ["torch", "datasets", "columns", "paths", "path objects"])
def test_an_item_has_the_question_target_and_clip_of_the_same_line(
    form, items, from_file, tmp_path
):
    data = ItemDataset(in_form(form, items, tmp_path), 16_000, 30.0)
    assert len(data.records) == len(from_file)
    for index, record in enumerate(data.records):
        question, expected = data.question(index, 1), from_file.question(index, 1)
        assert question.messages == expected.messages == items[index]["prompt"]
        dimensions, targets = data.draw(index, 1)
        _, of_file = from_file.draw(index, 1)
        assert [d.key for d in dimensions] == list(of_file) == list(targets)
        for key, target in targets.items():
            np.testing.assert_array_equal(target.distribution, of_file[key].distribution)
        np.testing.assert_allclose(data.waveform(index, 1), items[index]["audio"], atol=1e-6)
        assert record.seconds == pytest.approx(len(items[index]["audio"]) / 16_000)


def test_all_problems_of_items_are_reported_with_their_number(items):
    items[0]["solution"] = "4"
    items[1]["audio"] = np.array([0.1, float("nan")])
    items[2]["audio"] = np.zeros(16_000 * 31, dtype=np.float32) + 0.01
    with pytest.raises(BadRecordsError) as error:
        ItemDataset([*items, {"prompt": [], "solution": "x"}], 16_000, 30.0)
    assert [(p.line, p.key) for p in error.value.problems] == [
        (1, "solution"), (2, "audio"), (3, "audio"), (4, "audio"),
    ]  # fmt: skip
    for wrong, message in ((iter(items), "stream"), ([], "no items")):
        with pytest.raises(ValueError, match=message):
            ItemDataset(wrong, 16_000, 30.0)


@pytest.mark.slow
def test_a_trainer_gets_the_batches_of_the_same_file(items, from_file, tmp_path):
    args = trl.SFTConfig(
        output_dir=str(tmp_path / "out"), use_cpu=True, bf16=False, max_steps=1, save_strategy="no",
        per_device_train_batch_size=3, disable_tqdm=True,
    )  # fmt: skip
    tiny = str(PACKAGE / "models" / "tiny")
    batches = []
    for data in (datasets.Dataset.from_list(items), from_file):
        trainer = SFTTrainer(tiny, args, data, enable_tensorboard=False)
        batches.append(trainer.data_collator([{"record": at} for at in range(3)])["batch"])
    ours, theirs = batches
    assert torch.equal(ours.labels, theirs.labels)
    assert ours.tokens == theirs.tokens
    assert torch.equal(ours.inputs["input_ids"], theirs.inputs["input_ids"])
    trainer = SFTTrainer(tiny, args, Items(items), enable_tensorboard=False)
    assert np.isfinite(trainer.train().training_loss)
