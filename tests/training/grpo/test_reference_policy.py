import pytest
import torch
from grpo_trainers import generate, log_p_of, logged


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["lora", "ia3", "adalora", "prompt", "prefix", "none"])
def test_the_kl_to_the_reference_is_zero_only_before_the_first_step(trainer_of, peft, small_judge):
    # This reward differs between the answers of a random judge; most others do not.
    trainer = trainer_of(
        small_judge, f"peft={peft}", "trainer.args.max_steps=2", "trainer.args.learning_rate=0.02",
        "+trainer.rewards.mine={_target_: grpo_trainers.by_letters}",
    )  # fmt: skip
    reference = trainer.reference
    assert reference.adapter_off == (peft in ("lora", "ia3", "adalora"))
    weights = {name: value.clone() for name, value in reference.weights.items()}
    trainer.train()
    kl = logged(trainer, "kl")
    assert abs(kl[0]) < 1e-6
    assert max(kl[1:]) > 1e-6
    assert all(torch.equal(value, reference.weights[name]) for name, value in weights.items())


@pytest.mark.slow
def test_an_adapter_given_as_checkpoint_is_the_reference(trainer_of, trained_adapter):
    trainer = trainer_of(trained_adapter, "trainer.args.learning_rate=0.02")
    assert not trainer.reference.adapter_off
    (inputs,) = generate(trainer, 0, 1)
    log_p = log_p_of(trainer, inputs)
    with trainer.model.disable_adapter():
        base = log_p_of(trainer, inputs)
    torch.testing.assert_close(inputs["ref_per_token_logps"], log_p, atol=5e-6, rtol=0)
    assert (base - log_p).abs().max() > 1e-3
    trainer.train()
    kl = logged(trainer, "kl")
    assert abs(kl[0]) < 1e-6
    assert kl[1] > 1e-6
