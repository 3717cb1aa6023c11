"""Questions about augmented clips depend only on the seed, the epoch and the record."""

import numpy as np
import pytest

from dramaeval.config.schema import PACKAGE
from dramaeval.data.records import read_records
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task
from dramaeval.training.question_sampler import QuestionSampler
from dramaeval.training.sft.token_budget import longest_questions, size_of


@pytest.fixture
def sampler_with(composed, make_clips):
    task = build_task(composed("task.dimensions=[pitch_dynamics,trait_embodiment]"))
    records = read_records(make_clips("train", 4, seconds=(0.7, 1.6)), task.record_format()).records
    family = Qwen2Audio(path=str(PACKAGE / "models" / "tiny"))
    encoder = RecordEncoder(task, family.processor(), family, max_seconds=30, cache_clips=8)

    def build(augment, seed=0, **options):
        return QuestionSampler(records, encoder, seed, augment=augment, **options)

    return build


def clips_of(sampler, epoch):
    return [
        sampler(number, epoch).encoded.clips[-1].values for number in range(len(sampler.records))
    ]


def equal_clips(some, others):
    return [np.array_equal(a, b) for a, b in zip(some, others, strict=True)]


@pytest.mark.parametrize("augment", ["light", "strong"])
def test_augmented_clips_differ_by_epoch_and_seed_and_are_reproducible(sampler_with, augment):
    plain, sampler, restarted = (sampler_with(name) for name in ("none", augment, augment))
    first = clips_of(sampler, 0)
    second = clips_of(sampler, 1)
    # A resumed training samples epoch 1 without epoch 0, in another order.
    again = [restarted(number, 1).encoded.clips[-1].values for number in reversed(range(4))][::-1]
    assert equal_clips(second, again) == [True] * 4
    assert equal_clips(first, second) == [False] * 4
    assert equal_clips(first, clips_of(sampler_with(augment, seed=1), 0)) == [False] * 4
    assert equal_clips(clips_of(plain, 0), clips_of(plain, 1)) == [True] * 4
    for number in range(4):
        changed, unchanged = sampler(number, 0), plain(number, 0)
        assert changed.encoded.clips[-1].key == ""
        assert [q.messages for q in changed.questions] == [q.messages for q in unchanged.questions]
        assert changed.targets.keys() == unchanged.targets.keys()
        for key, target in changed.targets.items():
            np.testing.assert_array_equal(target.distribution, unchanged.targets[key].distribution)


def test_an_augmented_clip_is_within_the_planned_number_of_tokens(sampler_with):
    sampler = sampler_with("strong")
    encoder = sampler.record_encoder
    for number, record in enumerate(sampler.records):
        limit = size_of(
            record,
            encoder,
            *longest_questions(encoder.task, record, np.random.default_rng(0), len),
            questions_per_clip=None,
            shared_prefix=True,
            stretch=1 / 0.97,
        ).tokens
        longest = max(
            max(len(q.question.prompt) for q in sampler(number, epoch).encoded.questions)
            for epoch in range(4)
        )
        assert longest <= limit
