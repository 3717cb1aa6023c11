"""Training on clips longer than 30 s: the loss and gradient of a step, and a resumed training."""

import numpy as np
import pytest
import torch
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from dramaeval.config.schema import PACKAGE
from dramaeval.data.audio import decode
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer

TINY = PACKAGE / "models" / "tiny"
RATE = 16_000
SETTINGS = (
    "device=cpu",
    "peft=none",
    "stages=[train]",
    "task.data.on_long=segments",
    "task.data.max_seconds=80",
    "task.dimensions=[pitch_dynamics]",
    "trainer.args.logging_steps=1",
    "trainer.args.eval_strategy=no",
    "trainer.args.load_best_model_at_end=false",
)


@pytest.fixture
def run_of(composed, make_clips, tmp_path):
    def build(seconds, *overrides):
        train = make_clips("train", len(seconds), seconds=seconds)
        config = composed(*SETTINGS, f"task.data.train={train}", *overrides)
        check(config)
        return RunContext(config, RunFolder(tmp_path / "run"))

    return build


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@pytest.mark.slow
def test_loss_and_gradient_of_a_step_equal_plain_transformers(run_of):
    run = run_of(
        (65.0,), "trainer.objective=choice_ce", "trainer.args.max_steps=1", "trainer.args.save_strategy=no",
    )  # fmt: skip
    trainer = make_trainer(run)
    trainer.train()

    (record,), (dimension,) = run.splits["train"], run.task.dimensions
    target = run.task.target(record, dimension, np.random.default_rng(0))
    model = Qwen2AudioForConditionalGeneration.from_pretrained(TINY).eval()
    processor = Qwen2AudioProcessor.from_pretrained(TINY)
    system, user = run.task.messages(record, dimension)
    text = [part for part in user["content"] if part["type"] == "text"]
    content = [{"type": "audio", "audio_url": "x.wav"}] * 3 + text
    prompt = processor.apply_chat_template(
        [system, {"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    wave = decode(record.clip, RATE)
    inputs = processor(
        text=f"{prompt}<answer>", audio=[wave[: 30 * RATE], wave[30 * RATE : 60 * RATE], wave[60 * RATE :]],
        sampling_rate=RATE, return_tensors="pt",
    )  # fmt: skip
    scores = processor.tokenizer.convert_tokens_to_ids(list("12345"))
    log_probabilities = model(**inputs).logits[0, -1][scores].log_softmax(-1)
    loss = -(torch.tensor(target, dtype=torch.float32) * log_probabilities).sum()
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    assert logged(trainer, "loss") == pytest.approx([loss.item()], abs=1e-4)
    assert logged(trainer, "grad_norm") == pytest.approx([norm.item()], rel=1e-3)


@pytest.mark.slow
def test_a_resumed_training_is_bit_identical(run_of, small_judge):
    settings = (
        small_judge,
        "batch.max_tokens=3500", "trainer.args.num_train_epochs=2", "trainer.args.save_strategy=steps",
        "trainer.args.save_steps=1", "trainer.args.save_total_limit=20",
    )  # fmt: skip
    seconds = (70.0, 1.0, 31.5, 2.0)
    whole = make_trainer(run_of(seconds, *settings))
    batches = [each["batch"] for each in whole.get_train_dataloader()]
    assert max(batch.inputs["input_ids"].numel() for batch in batches) <= 3500
    whole.train()
    run = run_of(seconds, *settings)
    checkpoint = run.folder.checkpoints / "checkpoint-1"
    again = make_trainer(run, checkpoint)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert logged(again, "loss") == logged(whole, "loss")
    for resumed, expected in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(resumed, expected)
