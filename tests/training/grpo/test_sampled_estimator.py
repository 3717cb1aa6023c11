import pytest
from grpo_trainers import generate


def test_completions_end_at_the_end_of_the_turn(trainer_of):
    trainer = trainer_of("trainer.args.mask_truncated_completions=true")
    end = trainer.record_encoder.encoder.tokenise("<|im_end|>")[-1]
    (inputs,) = generate(trainer, 0, 1)
    ended = 0
    for at, tokens in enumerate(inputs["completion_ids"].tolist()):
        length = int(inputs["completion_mask"][at].sum())
        if length:
            assert tokens[length - 1] in trainer.eos_token_ids
            assert not set(tokens[: length - 1]) & set(trainer.eos_token_ids)
            ended += tokens[length - 1] == end
    unfinished = trainer._metrics["train"]["completions/clipped_ratio"][-1]
    masked = (inputs["completion_mask"].sum(-1) == 0).float().mean()
    assert unfinished == pytest.approx(float(masked))
    assert ended


@pytest.mark.slow
def test_completions_do_not_depend_on_the_order_of_records(trainer_of, small_judge):
    trainer = trainer_of(small_judge)
    (first,) = generate(trainer, 4, 2)
    (reversed_,) = generate(trainer, 2, 4)
    assert first["completion_ids"][:3].tolist() == reversed_["completion_ids"][3:].tolist()
    (later,) = generate(trainer, 4, 2, epoch=1)
    assert later["row"].tolist() == first["row"].tolist()
    assert later["epoch"].tolist() == [1] * 6


@pytest.mark.slow
def test_shared_and_separate_prefixes_sample_the_same_completions(trainer_of, small_judge):
    sampled = []
    for shared in (True, False):
        (inputs,) = generate(trainer_of(small_judge, f"batch.shared_prefix={shared}"), 0, 1)
        sampled.append(inputs["completion_ids"].tolist())
    assert sampled[0] == sampled[1]
