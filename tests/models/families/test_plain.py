"""`model.plain` runs the steps of transformers: a pass takes longer and gives the same values and gradients."""

import pytest
import torch

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.data.logmel import LogMel, PaddedLogMel
from dramaeval.data.records import read_records
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.inputs.audio_encodings import tower_name
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_family, build_task
from dramaeval.tasks.question import Target

TINY = PACKAGE / "models" / "tiny"
CPU = torch.device("cpu")
SECONDS = (0.1, 3.21, 7.77)
ALL = ("log_mel", "encoder", "head")
COMBINATIONS = [*((step,) for step in ALL), ALL]


@pytest.fixture(scope="module")
def passes():
    """The passes of this module so far, by their plain steps."""
    return {}


@pytest.fixture
def pass_of(passes, composed, make_clips):
    """A forward and a backward pass: logits, and gradients by the name of the weight."""
    file = make_clips("clip", len(SECONDS), seconds=SECONDS)

    def computed(*plain):
        task = build_task(composed())
        family = Qwen2Audio(path=str(TINY), plain=plain)
        records = read_records(file, task.record_format()).records
        record_encoder = RecordEncoder(
            task, family.processor(), family, max_seconds=30, cache_clips=4
        )
        model = family.load(CPU)
        family.freeze_fixed(model)
        dimensions = task.dimensions[:3]
        targets = {dimension.key: Target(torch.full((5,), 0.2).numpy()) for dimension in dimensions}
        batch = collate(
            [record_encoder.encode(record, dimensions, targets) for record in records],
            pad=record_encoder.pad,
        )
        logits = model(**batch.inputs).logits
        torch.nn.functional.cross_entropy(logits, batch.labels).backward()
        gradients = {
            name: weight.grad
            for name, weight in model.named_parameters()
            if weight.grad is not None
        }
        return model, record_encoder, logits.detach(), gradients, batch

    def run(*plain):
        if plain not in passes:
            passes[plain] = computed(*plain)
        return passes[plain]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("plain", COMBINATIONS, ids="+".join)
def test_values_and_gradients_are_the_same(pass_of, plain):
    _, _, expected, reference, _ = pass_of()
    _, _, logits, gradients, _ = pass_of(*plain)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    assert gradients.keys() == reference.keys()
    assert any("audio_tower" in name for name in gradients)
    for name, gradient in gradients.items():
        apart = (gradient - reference[name]).norm()
        # The bias of the keys shifts a softmax uniformly: its gradient is rounding error.
        assert apart <= 1e-3 * reference[name].norm() + 1e-6, name


@pytest.mark.slow
def test_plain_steps_process_longer_inputs(pass_of):
    """The test above compares different computations: the inputs of tower and head differ in size."""
    widths = {}
    for plain in ((), ALL):
        model, record_encoder, *_, batch = pass_of(*plain)
        assert type(record_encoder.logmel) is (PaddedLogMel if "log_mel" in plain else LogMel)
        seen = widths[plain] = {}
        parts = {"tower": model.model.audio_tower.conv1, "head": model.get_output_embeddings()}
        for name, module in parts.items():
            module.register_forward_hook(
                lambda _, given, __, name=name, seen=seen: seen.update({name: given[0].shape})
            )
        with torch.no_grad():
            model(**batch.inputs)
    plain, quick = widths[ALL], widths[()]
    assert plain["tower"][-1] == 3000 > quick["tower"][-1]
    assert plain["head"].numel() > 10 * quick["head"].numel()


@pytest.mark.slow
def test_caches_of_plain_steps_are_separate(pass_of):
    """A training that reads its clips from disk is bit-identical to one that computes them."""
    names, transforms = set(), set()
    for plain in ((), ("encoder",), ("log_mel",)):
        model, record_encoder, *_ = pass_of(*plain)
        names.add(tower_name(model, "model.audio_tower"))
        transforms.add(record_encoder.logmel.name)
    assert len(names) == 2
    assert len(transforms) == 2


@pytest.mark.parametrize(
    ("model", "plain", "valid"),
    [
        ("tiny", "hed", "log_mel, encoder, head"),
        # An option of the first release.
        ("tiny", "last_layer", "log_mel, encoder, head"),
        ("voxtral", "encoder", "log_mel, head"),
        ("causal_lm", "log_mel", "head"),
    ],
)
def test_unknown_steps_are_refused(composed, model, plain, valid):
    config = composed(f"model={model}", "model.path=somewhere", f"model.plain=[{plain}]")
    with pytest.raises(ConfigError, match=f"model.plain=.*{plain}.*valid are {valid}"):
        build_family(config)
