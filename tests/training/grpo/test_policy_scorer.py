"""The log-probability of a completion in a batch equals that of the completion alone with its own clip."""

import pytest
import torch
from grpo_trainers import check_parity, generate, plain_log_p

from dramaeval.models.inputs.collation import EncodedRecord
from dramaeval.training.grpo.completion_batches import completions_batch
from dramaeval.training.grpo.prompt_groups import PromptGroup


@pytest.mark.slow
@pytest.mark.parametrize(
    ("generations", "shared", "side"), [(2, True, "left"), (8, True, "right"), (3, False, "right")]
)
def test_each_completion_is_scored_with_the_clip_of_its_question(
    plain, trainer_of, generations, shared, side
):
    trainer = trainer_of(
        f"trainer.args.num_generations={generations}", f"batch.shared_prefix={shared}",
        "trainer.args.gradient_accumulation_steps=2", "trainer.args.num_iterations=2",
        "trainer.args.temperature=1.5",
    )  # fmt: skip
    trainer.record_encoder.encoder.tokenizer.padding_side = side
    order = [5, 0, 3, 6] if generations == 2 else [6, 3, 0, 5]
    passes = generate(trainer, *order)
    assert [inputs["row"].tolist() for inputs in passes] == [
        [record for record in pair for _ in range(generations)] for pair in (order[:2], order[2:])
    ]
    for inputs in passes:
        log_p = check_parity(plain, trainer, inputs, side)
        # Before the first step, the old policy and the reference have the same log-probabilities.
        mask = inputs["completion_mask"].bool()
        for name in ("old_per_token_logps", "ref_per_token_logps"):
            torch.testing.assert_close(inputs[name][mask], log_p[mask], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_another_clip_changes_the_log_probabilities(plain, trainer_of):
    trainer = trainer_of()
    (inputs,) = generate(trainer, 1, 3)
    tokens = inputs["completion_ids"][0, : int(inputs["completion_mask"][0].sum())].tolist()
    own = plain_log_p(plain, trainer, 1, tokens)
    other = plain_log_p(plain, trainer, 1, tokens, clip=trainer.groups(3, 0).record.clip)
    assert (own - other).abs().max() > 1e-2
    # The trainer's model, too, gives other logits if the clips of two prompts are exchanged.
    groups = [trainer.groups(1, 0), trainer.groups(7, 0)]  # clips of the same length
    swapped = [
        PromptGroup(
            a.record,
            a.question,
            a.targets,
            EncodedRecord(b.encoded_record.clips, a.encoded_record.questions),
            a.seed,
        )
        for a, b in zip(groups, reversed(groups), strict=True)
    ]
    logits = []
    for pair in (groups, swapped):
        batch = completions_batch([(group, [tokens]) for group in pair], pad=0, shared_prefix=True)
        with torch.no_grad():
            logits.append(trainer.model(**batch.inputs).logits)
    assert (logits[0] - logits[1]).abs().max() > 1e-2


@pytest.mark.slow
def test_shared_and_separate_prefixes_have_the_same_gradient(trainer_of):
    gradients, losses = [], []
    for shared in (True, False):
        trainer = trainer_of(
            f"batch.shared_prefix={shared}", "peft=none", "model.train_projector=true"
        )
        trainer.current_gradient_accumulation_steps = 1
        (inputs,) = generate(trainer, 0, 1)
        inputs["advantages"] = torch.linspace(-1, 1, len(inputs["advantages"]))
        trainer.model.zero_grad()
        loss = trainer.compute_loss(trainer.model, inputs)
        loss.backward()
        losses.append(loss.item())
        gradients.append(
            torch.cat([w.grad.flatten() for w in trainer.model.parameters() if w.grad is not None])
        )
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    difference = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert gradients[0].norm() > 0
    assert difference < 1e-3
