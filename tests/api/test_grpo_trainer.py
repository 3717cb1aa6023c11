"""GRPOTrainer: it takes the arguments of the published trainer and trains on the questions of the dataset."""

import pytest
import trl

from dramaeval import AudioDataset, GRPOTrainer, create_peft_config
from dramaeval.config.schema import PACKAGE

TINY = str(PACKAGE / "models" / "tiny")
PEFT = {"enabled": True, "method": "lora", "lora": {"r": 4}}


def settings(folder, **more):
    given = {
        "output_dir": str(folder), "use_cpu": True, "bf16": False, "max_steps": 2, "logging_steps": 1,
        "per_device_train_batch_size": 6, "num_generations": 3, "save_strategy": "no",
        "learning_rate": 1e-2, "disable_tqdm": True, "max_completion_length": 8,
    }  # fmt: skip
    return trl.GRPOConfig(**{**given, **more})


def shortness(completions):
    return [-one.tokens for one in completions]


@pytest.mark.slow
def test_training_with_a_custom_reward(make_clips, tmp_path):
    data = AudioDataset(make_clips("train", 6), is_perturb=True)
    args = settings(tmp_path / "out")
    trainer = GRPOTrainer(
        TINY, args, data, create_peft_config(PEFT), rewards={"shortness": shortness}
    )
    group = trainer.groups(2, 0)
    (dimension,), _ = data.draw(2, 0)
    assert group.about == (data.records[2].id, dimension.key)
    assert group.question.messages == data.question(2, 0).messages
    # Each epoch has another perturbation.
    frames = [trainer.groups(2, epoch).encoded_record.clips[0].values for epoch in (0, 1)]
    assert frames[0].shape != frames[1].shape or (frames[0] != frames[1]).any()
    trainer.train()
    entries = [one for one in trainer.state.log_history if "rewards/shortness/mean" in one]
    assert len(entries) == 2
    assert -8 <= entries[0]["rewards/shortness/mean"] <= -1
    assert list((tmp_path / "out" / "tensorboard").iterdir())
    trainer.save_model(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "adapter_model.safetensors").is_file()


def test_a_missing_dataset_and_a_wrong_batch_size_are_refused(make_clips, tmp_path):
    with pytest.raises(ValueError, match="train_dataset is missing: AudioDataset"):
        GRPOTrainer(TINY, settings(tmp_path))
    args = settings(tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=3)
    with pytest.raises(ValueError, match="no multiple of num_generations=3"):
        GRPOTrainer(TINY, args, AudioDataset(make_clips("train", 4)))
