from collections import Counter
from dataclasses import replace

import pytest
import torch
from grpo_trainers import ENUMERATED, check_parity, generate, gradient_of, loss_inputs, plain_log_p

from dramaeval.training.grpo.sampled_estimator import continue_prompts
from dramaeval.training.grpo.sampling import sample_completions


@pytest.mark.slow
def test_the_enumerated_gradient_is_proportional_to_the_expected_sampled_gradient(
    trainer_of, trained_adapter
):
    """The expected sampled gradient is a sum over all 625 groups of four answers, weighted by their probabilities.

    Without scaling, the baseline is the mean of a group of G answers, so that the expected sampled gradient is
    (G − 1)/G of the enumerated one: E[Σ_i (r_i − r̄) ∇log p_i] / G = (G − 1)/G · Cov(r, ∇log p). (With scaling by the
    spread of a group there is no common factor.) At the policy that sampled, the loss is linear in the advantages, so
    one pass with the expected sum of advantages of each answer suffices.
    """
    settings = (
        "trainer.args.scale_rewards=none", "trainer.args.loss_type=dr_grpo", "trainer.args.beta=0",
        "trainer.args.per_device_train_batch_size=1", "task.dimensions=[pitch_dynamics]",
        trained_adapter,
    )  # fmt: skip
    exact = trainer_of(*settings, *ENUMERATED)
    exact.current_gradient_accumulation_steps = 1
    (inputs,) = generate(exact, 1)
    enumerated = gradient_of(exact, inputs)
    # The five answers have nearly all of the probability.
    assert exact.statistics.values["outside"][0] < 0.01
    ids, mask = inputs["completion_ids"], inputs["completion_mask"]
    answers = [
        tuple(tokens[: int(row.sum())]) for tokens, row in zip(ids.tolist(), mask, strict=True)
    ]
    p = loss_inputs(exact, inputs)["tool_mask"][:, 0] / len(answers)
    assert float(p.sum()) == pytest.approx(1, abs=1e-4)

    size = 4
    sampled = trainer_of(*settings, f"trainer.args.num_generations={size}")
    sampled.current_gradient_accumulation_steps = 1
    group = sampled.groups(1, 0)
    values = sampled.rewards([sampled.read(group, 0, list(tokens)) for tokens in answers])
    rewards = sampled.rewards.total(values).view(-1)
    groups = torch.cartesian_prod(*[torch.arange(len(answers))] * size)
    differences = rewards[groups] - rewards[groups].mean(dim=1, keepdim=True)
    weighted = p[groups].prod(dim=1, keepdim=True) * differences
    advantages = torch.zeros(len(answers)).index_add(0, groups.flatten(), weighted.flatten())
    expectation = gradient_of(
        sampled,
        {
            "row": torch.full((len(answers),), 1),
            "epoch": torch.zeros(len(answers), dtype=torch.long),
            "prompt_ids": ids[:, :0],
            "prompt_mask": mask[:, :0],
            "completion_ids": ids,
            "completion_mask": mask,
            # TRL divides by the number of rows.
            "advantages": advantages * len(answers) / size,
            "num_items_in_batch": mask.sum(),
        },
    )
    expected = enumerated * (size - 1) / size
    assert (expectation - expected).norm() / expected.norm() < 1e-3

    # The frequency of each sampled answer is within four standard errors of its probability.
    count = 96
    with torch.no_grad():
        continuation = continue_prompts(sampled, sampled.model, [group], count)
        completions = sample_completions(sampled, continuation, [replace(group, seed=0)])
    found = Counter(map(tuple, completions))
    for answer, share in zip(answers, p.tolist(), strict=True):
        error = (share * (1 - share) / count) ** 0.5
        assert found[answer] / count == pytest.approx(share, abs=4 * error)


@pytest.mark.slow
def test_weights_and_advantages_of_all_answers_equal_plain_transformers(plain, trainer_of):
    trainer = trainer_of(
        *ENUMERATED, "trainer.args.gradient_accumulation_steps=2", "trainer.args.num_iterations=2",
        "trainer.args.scale_rewards=group",
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 2
    passes = generate(trainer, 0, 1, 2, 3)
    assert len(passes) == 2
    for inputs in passes:
        assert len(inputs["row"]) == 10
        check_parity(plain, trainer, inputs)
        weighted_inputs = loss_inputs(trainer, inputs)
        p = torch.stack(
            [
                plain_log_p(plain, trainer, record, tokens[: int(mask.sum())]).sum()
                for record, tokens, mask in zip(
                    inputs["row"].tolist(), inputs["completion_ids"].tolist(),
                    inputs["completion_mask"], strict=True,
                )
            ]
        ).view(2, 5).softmax(dim=-1)  # fmt: skip
        torch.testing.assert_close(
            weighted_inputs["tool_mask"].view(2, 5), p * 5, atol=1e-3, rtol=1e-3
        )
        rewards = trainer.rewards.total(inputs["rewards"]).view(2, 5)
        mean = (p * rewards).sum(-1, keepdim=True)
        spread = (p * (rewards - mean) ** 2).sum(-1, keepdim=True).sqrt()
        expected = (rewards - mean) / (spread + 1e-4)
        torch.testing.assert_close(
            weighted_inputs["advantages"].view(2, 5), expected, atol=2e-3, rtol=2e-3
        )
