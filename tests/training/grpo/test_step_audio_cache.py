import pytest
import torch


@pytest.mark.slow
@pytest.mark.parametrize(("overrides", "times"), [((), 1), (("batch.shared_prefix=false",), 3 * 3)])
def test_a_clip_is_encoded_once_per_step_with_shared_prefixes(
    trainer_of, monkeypatch, overrides, times, small_judge
):
    trainer = trainer_of(small_judge, "trainer.args.max_steps=1", "cache.enabled=false", *overrides)
    judge, encoded = trainer.model.get_base_model(), []
    embed = judge.embed_audio

    def counted(features, *arguments):
        encoded.append(len(features))
        return embed(features, *arguments)

    monkeypatch.setattr(judge, "embed_audio", counted)
    trainer.train()
    # Two clips with three completions each. Without shared prefixes the clip is encoded for each completion three
    # times: for generation, for the reference and for the policy.
    assert sum(encoded) == 2 * times


@pytest.mark.slow
def test_training_with_cached_clips_gives_the_same_weights(trainer_of, tmp_path, small_judge):
    settings = (small_judge, "trainer.args.max_steps=2", f"cache.folder={tmp_path / 'cache'}")
    trainers = [trainer_of(*settings) for _ in range(2)]
    for trainer in trainers:
        trainer.train()
    caches = [trainer.model.get_base_model().encoding_cache for trainer in trainers]
    assert [cache.encoded > 0 for cache in caches] == [True, False]
    for weight, other in zip(*(t.model.parameters() for t in trainers), strict=True):
        assert torch.equal(weight, other)
