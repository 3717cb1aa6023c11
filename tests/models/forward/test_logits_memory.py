"""Peak memory of a pass: logits are computed at answer positions only, which takes far less than at every position."""

import ctypes
import re
from pathlib import Path

import pytest
import torch
from transformers import Qwen2AudioConfig
from transformers import Qwen2AudioForConditionalGeneration as Plain

from dramaeval.config.schema import PACKAGE
from dramaeval.data.records import read_records
from dramaeval.models.families.qwen2_audio import Qwen2Audio, Qwen2AudioForConditionalGeneration
from dramaeval.models.forward import shared_prefix
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task
from dramaeval.tasks.question import Target

TINY = PACKAGE / "models" / "tiny"
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
#: Large enough that the logits take more memory than everything else in a small model.
VOCABULARY = 100_000


def resident(name):
    line = re.search(rf"{name}:\s+(\d+) kB", STATUS.read_text())
    return int(line.group(1)) * 1024


def peak_of(work):
    """The peak memory of a call of ``work`` above the memory before it, in bytes."""
    work()  # caches are filled by the first call
    # Return freed memory that the process keeps (`dramaeval.compat.glibc`).
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    try:
        CLEAR.write_text("5")  # resets the peak
    except OSError:
        pytest.skip("this system does not let a process reset its peak memory")
    before = resident("VmRSS")
    work()
    return resident("VmHWM") - before


@pytest.fixture(scope="module")
def models():
    """The judge and plain transformers with the same weights and a large vocabulary that is not trained."""
    config = Qwen2AudioConfig.from_pretrained(TINY)
    config.text_config.vocab_size = VOCABULARY
    config.text_config.hidden_size, config.text_config.intermediate_size = 40, 80
    torch.manual_seed(0)
    judge = Qwen2AudioForConditionalGeneration(config).eval()
    shared_prefix.register()
    judge.model.language_model.set_attn_implementation(shared_prefix.NAME)
    plain = Plain(config).eval()
    plain.load_state_dict(judge.state_dict())
    for model in (judge, plain):
        model.get_input_embeddings().weight.requires_grad_(False)
        model.get_output_embeddings().weight.requires_grad_(False)
    return judge, plain


@pytest.fixture
def batch_of(composed, make_clips):
    def build(shared_prefix, trains):
        task = build_task(composed())
        family = Qwen2Audio(path=str(TINY))
        records = read_records(make_clips("clip", 1, seconds=(8.0,)), task.record_format()).records
        record_encoder = RecordEncoder(
            task, family.processor(), family, max_seconds=30, cache_clips=1
        )
        dimensions = task.dimensions[:4]
        targets = {dimension.key: Target(torch.full((5,), 0.2).numpy()) for dimension in dimensions}
        encoded = [
            record_encoder.encode(record, dimensions, targets if trains else None)
            for record in records
        ]
        return collate(encoded, pad=record_encoder.pad, shared_prefix=shared_prefix)

    return build


def full_logits_bytes(batch):
    """Bytes of logits at every position of the batch."""
    return batch.inputs["input_ids"].numel() * VOCABULARY * 4


@pytest.mark.slow
@pytest.mark.parametrize("shared_prefix", [True, False])
def test_peak_memory_of_a_training_step(models, batch_of, shared_prefix):
    judge, _ = models
    batch = batch_of(shared_prefix, trains=True)

    def step():
        logits = judge(**batch.inputs).logits
        torch.nn.functional.cross_entropy(logits, batch.labels).backward()
        judge.zero_grad()

    answers = len(batch.labels) * VOCABULARY * 4
    assert full_logits_bytes(batch) > 10 * answers
    assert peak_of(step) < min(0.4 * full_logits_bytes(batch), 6 * answers + 150e6)


@pytest.mark.parametrize("shared_prefix", [True, False])
def test_peak_memory_of_scoring(models, batch_of, shared_prefix):
    judge, _ = models
    batch = batch_of(shared_prefix, trains=False)
    with torch.inference_mode():
        assert peak_of(lambda: judge(**batch.inputs)) < 0.2 * full_logits_bytes(batch)


def test_the_measurement_detects_logits_at_every_position(models, batch_of):
    """Plain transformers on one row exceeds the bounds above."""
    _, plain = models
    batch = batch_of(False, trains=False)
    row = batch.inputs["input_ids"][:1]
    text = torch.where(row == plain.config.audio_token_id, 5, row)
    with torch.inference_mode():
        peak = peak_of(lambda: plain(input_ids=text))
    assert peak > 0.9 * row.numel() * VOCABULARY * 4
