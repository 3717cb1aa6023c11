"""Settings and helpers for tests of GRPO."""

import torch
from plain_judge import plain_processor

from dramaeval.config.schema import PACKAGE
from dramaeval.data.audio import decode

TINY = PACKAGE / "models" / "tiny"
QUICK = (
    "trainer=grpo",
    "device=cpu",
    "logger=none",
    "task.dimensions=[pitch_dynamics,trait_embodiment]",
    "trainer.args.per_device_train_batch_size=2",
    "trainer.args.num_generations=3",
    "trainer.args.max_completion_length=12",
    "trainer.args.max_steps=2",
    "trainer.args.logging_steps=1",
    "trainer.args.eval_strategy=no",
    "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false",
    "trainer.args.warmup_steps=0",
)
ENUMERATED = ("trainer.estimator=enumerated", "trainer.args.num_generations=null")


def by_letters(completions):
    """A user's reward function: it depends only on the letters of the answer."""
    return [sum(map(ord, completion.text)) % 7 / 7 for completion in completions]


def generate(trainer, *records, epoch=0):
    """Generate answers about these records; return the inputs of each forward pass."""
    rows = [{"record": record, "epoch": epoch} for record in records]
    return trainer.estimator.generate(trainer, rows)


def logged(trainer, name):
    """The values logged under this name, in order."""
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def log_p_of(trainer, inputs):
    """Log-probabilities of a pass under the policy, ``[completions, width]``."""
    return trainer.score(trainer.groups.of_pass(inputs), inputs)


def loss_inputs(trainer, inputs):
    """The inputs of TRL's loss for a pass."""
    groups = trainer.groups.of_pass(inputs)
    ids, mask = inputs["completion_ids"], inputs["completion_mask"]
    with torch.no_grad():
        scores = trainer.scorer(trainer.model, groups, ids, mask)
    return trainer.estimator.loss_inputs(trainer, inputs, groups, scores)


def gradient_of(trainer, inputs):
    """The gradient of the loss of a pass, as one vector."""
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, inputs).backward()
    return torch.cat([w.grad.flatten() for w in trainer.model.parameters() if w.grad is not None])


def plain_log_p(plain, trainer, record, tokens, side="left", clip=None):
    """Log-probabilities of one completion by plain transformers, ``[tokens]``; tests compare the trainer's with these."""
    group = trainer.groups(record, 0)
    processor = plain_processor(side)
    messages = group.question.messages
    inputs = processor(
        text=[processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)],
        audio=[decode(clip or group.record.clip, 16_000)],
        sampling_rate=16_000,
        return_tensors="pt",
    )
    width = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([tokens])], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.no_grad():
        logits = plain(**inputs).logits[0, width - 1 : -1]
    log_p = (logits / trainer.temperature).log_softmax(-1)
    return log_p.gather(1, torch.tensor(tokens)[:, None])[:, 0]


def check_parity(plain, trainer, inputs, side="left"):
    """Assert that the log-probabilities of a pass equal those of single completions by transformers; return them."""
    ids, mask = inputs["completion_ids"], inputs["completion_mask"]
    with torch.no_grad():
        log_p, entropies = trainer.scorer(trainer.model, trainer.groups.of_pass(inputs), ids, mask)
    for row, record in enumerate(inputs["row"].tolist()):
        length = int(mask[row].sum())
        tokens = ids[row, :length].tolist()
        expected = plain_log_p(plain, trainer, record, tokens, side)
        torch.testing.assert_close(log_p[row, :length], expected, atol=1e-4, rtol=0)
    assert (entropies[mask.bool()] > 0).any()
    return log_p
