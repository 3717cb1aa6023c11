"""Records of a batch that begin with the same text are one row, and their questions do not see other records."""

import numpy as np
import pytest
import torch

from dramaeval.config.schema import PACKAGE
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task
from dramaeval.training.objectives import expected_mse

TINY = PACKAGE / "models" / "tiny"


@pytest.fixture(scope="module")
def family():
    return Qwen2Audio(path=str(TINY))


@pytest.fixture
def encoded(composed, make_clips, family):
    """Four encoded records with targets of three dimensions, and the encoder."""

    def build(*overrides, questions=3):
        task = build_task(composed(*overrides))
        records = task.read(make_clips("clip", 4, seconds=(0.4, 2.0, 1.1, 0.7))).records
        encoder = RecordEncoder(task, family.processor(), family, max_seconds=30, cache_clips=8)
        rng = np.random.default_rng(0)
        dimensions = task.dimensions[:questions]
        targets = [[task.target(record, d, rng) for d in dimensions] for record in records]
        return [
            encoder.encode(record, dimensions, target)
            for record, target in zip(records, targets, strict=True)
        ], encoder

    return build


def shared_start(sequences):
    """The number of first tokens that all sequences have in common, counted token by token."""
    count = 0
    while len({sequence[count] for sequence in sequences}) == 1:
        count += 1
    return count


@pytest.mark.parametrize("questions", [1, 3])
def test_the_text_before_the_clips_is_computed_once(encoded, family, questions):
    records, encoder = encoded("task.prompt_layout=rubric_first", questions=questions)
    batch = collate(records, pad=encoder.pad)
    assert batch.inputs["input_ids"].shape[0] == 1
    assert batch.inputs["branch_count"] == 4
    prompts = [[q.question.prompt for q in record.questions] for record in records]
    before_clips = prompts[0][0].index(encoder.audio_token)
    assert int(batch.inputs["prefix_mask"].sum()) == before_clips
    # "<answer>3</answer><|im_end|>" without its last token, which predicts nothing
    answer = len(encoder.encoder.tokenizer("<answer>3</answer>").input_ids)
    expected = before_clips
    for record in prompts:
        shared = shared_start(record) if questions > 1 else len(record[0])
        expected += shared - before_clips
        expected += sum(len(prompt) - shared + answer for prompt in record)
    assert batch.tokens == expected


def test_records_without_much_text_in_common_stay_separate_rows(encoded):
    for layout in ("context_first", "criteria_first"):
        records, encoder = encoded(f"task.prompt_layout={layout}")
        batch = collate(records, pad=encoder.pad)
        assert batch.inputs["input_ids"].shape[0] == 4
    records, encoder = encoded("task.prompt_layout=rubric_first")
    assert collate(records[:1], pad=encoder.pad).inputs["branch_count"] == 3


@pytest.mark.slow
def test_loss_and_gradients_are_those_of_separate_sequences(encoded, family):
    records, encoder = encoded("task.prompt_layout=rubric_first")
    results = []
    for shared in (True, False):
        judge = family.load(torch.device("cpu"))
        batch = collate(records, pad=encoder.pad, shared_prefix=shared)
        losses = expected_mse(judge(**batch.inputs).logits, batch)
        losses.mean().backward()
        gradients = {
            name: weight.grad
            for name, weight in judge.named_parameters()
            if weight.grad is not None
        }
        results.append((losses.detach(), gradients))
    (joined, joined_gradients), (separate, gradients) = results
    torch.testing.assert_close(joined, separate, atol=1e-5, rtol=1e-4)
    assert joined_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        largest = float(gradient.abs().max())
        torch.testing.assert_close(
            joined_gradients[name], gradient, atol=1e-4 * max(largest, 1e-3), rtol=1e-3
        )


@pytest.mark.slow
def test_the_answers_about_a_record_do_not_depend_on_the_others(encoded, family):
    records, encoder = encoded("task.prompt_layout=rubric_first")
    judge = family.load(torch.device("cpu"))
    with torch.no_grad():
        alone = [judge(**collate([record], pad=encoder.pad).inputs).logits for record in records]
        for order in ([0, 1, 2, 3], [3, 0, 2, 1], [2, 0]):
            chosen = [records[number] for number in order]
            together = judge(**collate(chosen, pad=encoder.pad).inputs).logits
            expected = torch.cat([alone[number] for number in order])
            torch.testing.assert_close(together, expected, atol=1e-4, rtol=0)
