"""A model that is spread over devices gives the same scores as a model on one device."""

import pytest
import torch

from dramaeval.config.schema import PACKAGE
from dramaeval.data.records import read_records
from dramaeval.evaluation.scoring import score
from dramaeval.models.devices import check_adapter_fits, input_device
from dramaeval.models.errors import ModelError
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task

TINY = str(PACKAGE / "models" / "tiny")
CPU = torch.device("cpu")
#: Where the weights are; weights on disk are read when their layer is called, as with a GPU that is too small.
SPREAD = {
    "model.audio_tower": "cpu",
    "model.multi_modal_projector": "disk",
    "model.language_model.embed_tokens": "cpu",
    "model.language_model.layers": "disk",
    "model.language_model.norm": "cpu",
    "model.language_model.rotary_emb": "cpu",
    "lm_head": "disk",
}
TOWER_ON_DISK = {**SPREAD, "model.audio_tower": "disk"}


@pytest.mark.parametrize(
    ("placed", "shared"),
    [("cpu", True), ("auto", True), (SPREAD, True), (SPREAD, False), (TOWER_ON_DISK, True)],
    ids=["cpu", "auto", "disk", "disk, rows", "tower"],
)
def test_scores_do_not_depend_on_the_device_map(composed, make_clips, tmp_path, placed, shared):
    task = build_task(composed("task.dimensions=[pitch_dynamics,trait_embodiment]"))
    records = read_records(make_clips("clip", 3), task.record_format()).records
    predictions = []
    for device_map in (None, placed):
        family = Qwen2Audio(path=TINY, device_map=device_map, offload_folder=str(tmp_path / "off"))
        judge = family.load(CPU)
        assert input_device(judge) == CPU
        on_disk = any(weight.is_meta for weight in judge.parameters())
        assert on_disk == isinstance(device_map, dict)
        record_encoder = RecordEncoder(
            task, family.processor(), family, max_seconds=30, cache_clips=3
        )
        predictions.append(score(judge, records, record_encoder, shared_prefix=shared))
    for reference, prediction in zip(*predictions, strict=True):
        assert reference.distribution == pytest.approx(prediction.distribution, abs=1e-5)


def test_an_adapter_on_a_model_with_weights_on_disk_is_refused(tmp_path):
    spread = Qwen2Audio(path=TINY, device_map=SPREAD, offload_folder=str(tmp_path)).load(CPU)
    with pytest.raises(ModelError, match="Merge the adapter into its model first"):
        check_adapter_fits(spread)
    check_adapter_fits(Qwen2Audio(path=TINY, device_map="auto").load(CPU))
    check_adapter_fits(Qwen2Audio(path=TINY).load(CPU))
