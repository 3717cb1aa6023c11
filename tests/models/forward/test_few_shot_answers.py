"""Few-shot questions: logits equal those of transformers in every layout, and the clips of examples change the scores."""

import numpy as np
import pytest
import soundfile
import torch
from plain_judge import plain_judge, plain_processor

from dramaeval.config.schema import PACKAGE
from dramaeval.data.audio import decode
from dramaeval.data.records import read_records
from dramaeval.evaluation.scoring import score
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task

TINY = PACKAGE / "models" / "tiny"


@pytest.fixture(scope="module")
def judge():
    return Qwen2Audio(path=str(TINY)).load(torch.device("cpu"))


@pytest.fixture
def prepared(composed, make_clips):
    def build(*overrides):
        family = Qwen2Audio(path=str(TINY))
        task = build_task(composed("task.shots=2", *overrides))
        train = read_records(make_clips("train", 6, seed=1), task.record_format()).records
        test = read_records(
            make_clips("test", 3, seconds=(0.4, 1.9, 1.1)), task.record_format()
        ).records
        task.show_examples(train, 0)
        processor = family.processor()
        return test, RecordEncoder(task, processor, family, max_seconds=30, cache_clips=32)

    return build


def plain_logits(record_encoder, record, dimension):
    """The logits of one question that transformers prepares and runs."""
    processor = plain_processor()
    messages = record_encoder.task.messages(record, dimension)
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    records_with_clips = (*record_encoder.task.examples(record), record)
    inputs = processor(
        text=[text + "<answer>"],
        audio=[decode(each.clip, 16_000) for each in records_with_clips],
        sampling_rate=16_000,
        return_tensors="pt",
    )
    with torch.no_grad():
        return plain_judge()(**inputs).logits[0, -1]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["context_first", "criteria_first", "rubric_first"])
def test_logits_equal_plain_transformers_in_both_batch_layouts(judge, prepared, layout):
    records, record_encoder = prepared(f"task.prompt_layout={layout}")
    dimensions = record_encoder.task.dimensions[:2]
    for shared_prefix in (True, False):
        encoded = [record_encoder.encode(record, dimensions) for record in records]
        assert all(len(encoded_record.clips) == 3 for encoded_record in encoded)
        batch = collate(encoded, pad=record_encoder.pad, shared_prefix=shared_prefix)
        with torch.no_grad():
            logits = judge(**batch.inputs).logits
        expected = plain_logits(record_encoder, records[1], dimensions[1])
        torch.testing.assert_close(logits[3], expected, atol=1e-4, rtol=0)


def test_the_clip_of_an_example_changes_the_scores(judge, prepared):
    records, record_encoder = prepared()
    before = score(judge, records[:1], record_encoder)
    example = record_encoder.task.examples(records[0])[0]
    wave = 0.3 * np.sin(2 * np.pi * 150 * np.arange(24_000) / 16_000)
    soundfile.write(example.clip, wave, 16_000)
    again = RecordEncoder(
        record_encoder.task,
        record_encoder.processor,
        record_encoder.family,
        max_seconds=30,
        cache_clips=32,
    )
    after = score(judge, records[:1], again)
    changes = [abs(a.expected - b.expected) for a, b in zip(before, after, strict=True)]
    assert max(changes) > 1e-4
