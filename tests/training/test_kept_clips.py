"""The cache of outputs of a frozen audio tower: equal values and gradients, without decoding or encoding clips."""

import shutil

import numpy as np
import pytest
import soundfile
import torch

from dramaeval.data import audio
from dramaeval.data.logmel import LogMel
from dramaeval.evaluation.scoring import score
from dramaeval.models.inputs import record_encoder as record_encoder_module
from dramaeval.models.inputs.collation import collate
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer

SETTINGS = (
    "device=cpu",
    "task.dimensions=[pitch_dynamics,trait_embodiment]",
    "batch.per_device=3",
    "trainer.args.num_train_epochs=2",
    "trainer.args.logging_steps=1",
    "trainer.args.eval_strategy=no",
    "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false",
)
ONE_EPOCH = "trainer.args.num_train_epochs=1"


@pytest.fixture
def run_of(composed, make_clips, tmp_path, small_judge):
    """A function that builds a run over six clips of different lengths; all runs of a test share one cache."""
    train = make_clips("train", 6, seconds=(0.5, 1.3, 0.9))

    def build(*overrides, name="run"):
        config = composed(
            *SETTINGS, small_judge, f"task.data.train={train}", "stages=[train]",
            f"cache.folder={tmp_path / 'cache'}", *overrides,
        )  # fmt: skip
        check(config)
        return RunContext(config, RunFolder(tmp_path / name))

    return build


class AudioWork:
    """Counts the decoded clips, the computed log-mels and the passes of the audio tower."""

    def __init__(self, monkeypatch, run):
        self.decoded = self.transformed = self.encoded = 0
        decode, transform = audio.decode, LogMel.__call__

        def counted_decode(*args, **kwargs):
            self.decoded += 1
            return decode(*args, **kwargs)

        def counted_transform(*args, **kwargs):
            self.transformed += 1
            return transform(*args, **kwargs)

        def count_encoding(*_):
            self.encoded += 1

        monkeypatch.setattr(record_encoder_module, "decode", counted_decode)
        monkeypatch.setattr(LogMel, "__call__", counted_transform)
        run.model.model.audio_tower.conv1.register_forward_hook(count_encoding)

    @property
    def counts(self):
        return (self.decoded, self.transformed, self.encoded)


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.slow
def test_later_epochs_and_runs_use_the_cache_and_train_the_same_weights(run_of, monkeypatch):
    run = run_of()
    work = AudioWork(monkeypatch, run)
    first = make_trainer(run)
    first.train()
    assert work.counts == (6, 6, 6)  # two epochs
    again = run_of(name="again")
    work = AudioWork(monkeypatch, again)
    second = make_trainer(again)
    second.train()
    assert work.counts == (0, 0, 0)
    assert again.record_encoder.cache.counts["read"] == 6
    assert losses(first) == losses(second)
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("shared_prefix", [True, False])
def test_values_and_gradients_equal_those_without_the_cache(run_of, shared_prefix):
    runs = {
        name: run_of(f"cache.enabled={name == 'kept'}", "adapt=[llm,projector]", name=name)
        for name in ("plain", "kept")
    }
    found = {}
    for name, run in runs.items():
        trainer = make_trainer(run)
        if name == "kept":  # fills the cache, from which the batch below is read
            score(run.model, run.splits["train"], run.record_encoder)
        rows = run.splits["train"]
        records = [run.record_encoder.encode(row, run.task.dimensions) for row in rows]
        batch = collate(records, pad=run.record_encoder.pad, shared_prefix=shared_prefix)
        assert ("input_features" in batch.inputs) == (name == "plain")
        torch.manual_seed(0)
        for weight_name, weight in trainer.model.named_parameters():
            if "lora_B" in weight_name:  # with its initial zeros, the gradients of A would be zero
                torch.nn.init.normal_(weight, std=0.02)
        logits = trainer.model(**batch.inputs).logits
        logits.square().mean().backward()
        found[name] = (
            logits.detach(),
            {
                key: weight.grad
                for key, weight in trainer.model.named_parameters()
                if weight.requires_grad
            },
        )
    torch.testing.assert_close(found["plain"][0], found["kept"][0], atol=1e-4, rtol=0)
    assert any("multi_modal_projector" in key for key in found["kept"][1])
    for key, gradient in found["plain"][1].items():
        other = found["kept"][1][key]
        assert (gradient - other).norm() <= 1e-3 * gradient.norm(), key


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [("adapt=audio",), ("peft=none",)])
def test_a_trained_tower_encodes_every_time_and_log_mels_are_cached(run_of, monkeypatch, overrides):
    make_trainer(run_of(*overrides, ONE_EPOCH)).train()
    again = run_of(*overrides, ONE_EPOCH, name="again")
    work = AudioWork(monkeypatch, again)
    trainer = make_trainer(again)
    before = [w.clone() for w in again.model.model.audio_tower.parameters()]
    trainer.train()
    assert work.counts == (0, 0, 2)  # two batches
    after = list(again.model.model.audio_tower.parameters())
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.slow
def test_the_frozen_tower_of_a_full_fine_tuning_is_cached(run_of, monkeypatch):
    run = run_of("peft=none", "model.freeze_audio=true")
    work = AudioWork(monkeypatch, run)
    make_trainer(run).train()
    assert work.counts == (6, 6, 6)


@pytest.mark.slow
def test_without_the_cache_clips_are_encoded_in_every_batch(run_of, monkeypatch, tmp_path):
    run = run_of("cache.enabled=false")
    work = AudioWork(monkeypatch, run)
    make_trainer(run).train()
    assert work.counts == (6, 6, 4)  # decoded once per process, encoded in every batch
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_other_weights_and_changed_clips_are_not_read_from_the_cache(run_of, monkeypatch):
    run = run_of()
    first = {
        one.clip: run.record_encoder.encode(one, run.task.dimensions).clips[0]
        for one in run.splits["train"]
    }
    name = run.model.encoding_cache.tower
    score(run.model, run.splits["train"], run.record_encoder)  # fills the cache
    other = run_of(name="other")
    with torch.no_grad():
        other.model.model.audio_tower.conv1.bias += 0.1
    other.attach_encoding_cache(other.model)
    assert other.model.encoding_cache.tower != name
    clip = next(iter(first))
    samples, rate = soundfile.read(clip, dtype="float32")
    soundfile.write(clip, samples[::-1], rate)  # of the same length and name
    again = run_of(name="again")
    assert again.model.encoding_cache.tower == name
    record = next(one for one in again.splits["train"] if one.clip == clip)
    encoded = again.record_encoder.encode(record, again.task.dimensions).clips[0]
    assert encoded.values.shape == first[clip].values.shape
    assert not np.allclose(encoded.values, first[clip].values)


@pytest.mark.slow
def test_a_damaged_entry_is_computed_again(run_of, monkeypatch, tmp_path):
    make_trainer(run_of(ONE_EPOCH)).train()
    path = sorted((tmp_path / "cache").glob("??/*.clip"))[0]
    path.write_bytes(path.read_bytes()[:100])
    again = run_of(ONE_EPOCH, name="again")
    work = AudioWork(monkeypatch, again)
    make_trainer(again).train()
    assert work.counts == (1, 1, 1)
    assert again.record_encoder.cache.counts["damaged"] == 1


def test_samples_that_are_not_from_a_file_are_not_cached(run_of, tmp_path):
    run = run_of()
    record = run.splits["train"][0]
    quiet = run.record_encoder.features(np.zeros(8000, dtype=np.float32))
    clips = {record.clip: quiet}
    encoded_record = run.record_encoder.encode_with_clips(record, clips, run.task.dimensions)
    with torch.inference_mode():
        run.model(**collate([encoded_record], pad=run.record_encoder.pad).inputs)
    assert run.model.encoding_cache.encoded == 1
    assert not list((tmp_path / "cache").glob("??/*"))


def test_cached_encodings_with_a_trainable_tower_are_an_error(run_of):
    run = run_of()
    encoded_record = run.record_encoder.encode(run.splits["train"][0], run.task.dimensions)
    with pytest.raises(RuntimeError, match="tower is trained"):
        run.model(**collate([encoded_record], pad=run.record_encoder.pad).inputs)


@pytest.mark.slow
def test_a_deleted_cache_folder_is_created_again(run_of, tmp_path):
    make_trainer(run_of(ONE_EPOCH)).train()
    shutil.rmtree(tmp_path / "cache")
    make_trainer(run_of(ONE_EPOCH, name="again")).train()
    assert len(list((tmp_path / "cache").glob("??/*.clip"))) == 6
