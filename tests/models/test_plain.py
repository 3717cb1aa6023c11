"""The ways back to what transformers does: `model.plain` changes how long a pass takes, and nothing else."""

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
from dramaeval.tasks.task import Target

TINY = PACKAGE / "models" / "tiny"
CPU = torch.device("cpu")
SECONDS = (0.1, 3.21, 7.77)
ALL = ("log_mel", "encoder", "head", "last_layer")
WAYS = [*((one,) for one in ALL), ALL]


@pytest.fixture
def pass_of(composed, make_clips):
    """One pass with its gradient: logits and every weight's gradient, by the weight's name."""
    file = make_clips("clip", len(SECONDS), seconds=SECONDS)

    def run(*plain):
        task = build_task(composed())
        family = Qwen2Audio(path=str(TINY), plain=plain)
        records = read_records(file, task.record_format()).records
        record_encoder = RecordEncoder(
            task, family.processor(), family, max_seconds=30, cache_clips=4
        )
        model = family.load(CPU)
        family.freeze_fixed(model)
        asked = task.dimensions[:3]
        targets = {one.key: Target(torch.full((5,), 0.2).numpy()) for one in asked}
        batch = collate(
            [record_encoder.encode(one, asked, targets) for one in records], pad=record_encoder.pad
        )
        logits = model(**batch.inputs).logits
        torch.nn.functional.cross_entropy(logits, batch.labels).backward()
        gradients = {
            name: weight.grad
            for name, weight in model.named_parameters()
            if weight.grad is not None
        }
        return model, record_encoder, logits.detach(), gradients, batch

    return run


@pytest.mark.parametrize("plain", WAYS, ids="+".join)
def test_values_and_gradients_are_the_same(pass_of, plain):
    _, _, expected, reference, _ = pass_of()
    _, _, found, gradients, _ = pass_of(*plain)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert gradients.keys() == reference.keys()
    assert any("audio_tower" in name for name in gradients)
    for name, gradient in gradients.items():
        apart = (gradient - reference[name]).norm()
        # A key's bias shifts all of a softmax alike: its gradient is rounding, whichever way it is taken.
        assert apart <= 1e-3 * reference[name].norm() + 1e-6, name


def test_the_plain_way_is_taken(pass_of):
    """What passes through the parts is seen: else the test above could compare a way with itself."""
    widths = {}
    for plain in ((), ("last_layer",), ALL):
        model, record_encoder, *_, batch = pass_of(*plain)
        assert type(record_encoder.logmel) is (PaddedLogMel if "log_mel" in plain else LogMel)
        seen = widths[plain] = {}
        last = model.model.language_model.layers[-1]
        parts = {
            "tower": model.model.audio_tower.conv1,
            "keys": last.self_attn.k_proj,
            "queries": last.self_attn.q_proj,
            "last": last.mlp.down_proj,
            "head": model.get_output_embeddings(),
        }
        for name, module in parts.items():
            module.register_forward_hook(
                lambda _, given, __, name=name, seen=seen: seen.update({name: given[0].shape})
            )
        with torch.no_grad():
            model(**batch.inputs)
    plain, whole_layer, quick = widths[ALL], widths[("last_layer",)], widths[()]
    assert plain["tower"][-1] == 3000 > quick["tower"][-1]
    assert plain["head"].numel() > 10 * quick["head"].numel()
    assert whole_layer["head"].numel() == quick["head"].numel()
    for part in ("queries", "last"):
        assert whole_layer[part].numel() == plain[part].numel() > 10 * quick[part].numel()
    assert quick["keys"] == plain["keys"]


def test_what_is_kept_is_kept_apart(pass_of):
    """A training that takes its clips from disk gives the same to the last bit, so ways do not mix."""
    names, transforms = set(), set()
    for plain in ((), ("encoder",), ("log_mel",)):
        model, record_encoder, *_ = pass_of(*plain)
        names.add(tower_name(model, record_encoder.family))
        transforms.add(record_encoder.logmel.name)
    assert len(names) == 2
    assert len(transforms) == 2


@pytest.mark.parametrize(
    ("model", "plain", "valid"),
    [
        ("tiny", "hed", "log_mel, encoder, head, last_layer"),
        ("voxtral", "encoder", "log_mel, head, last_layer"),
        ("causal_lm", "log_mel", "head, last_layer"),
    ],
)
def test_what_has_no_quicker_way_is_refused(composed, model, plain, valid):
    config = composed(f"model={model}", "model.path=somewhere", f"model.plain=[{plain}]")
    with pytest.raises(ConfigError, match=f"model.plain=.*{plain}.*it can name {valid}"):
        build_family(config)
