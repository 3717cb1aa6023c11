"""Logits and scores of the judge equal those of plain transformers in every layout, batch size and order."""

import itertools

import numpy as np
import pytest
import torch
from plain_judge import plain_judge, plain_processor

from dramaeval.config.schema import PACKAGE
from dramaeval.data.audio import decode
from dramaeval.data.records import read_records
from dramaeval.evaluation.scoring import distributions, score
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.forward.judge_model import FeatureMismatchError
from dramaeval.models.inputs.batch import Batch
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task

TINY = PACKAGE / "models" / "tiny"
CPU = torch.device("cpu")
TWO_DIMENSIONS = "task.dimensions=[pitch_dynamics,trait_embodiment]"


@pytest.fixture(scope="module")
def plain():
    return plain_judge()


@pytest.fixture(scope="module")
def family():
    return Qwen2Audio(path=str(TINY))


@pytest.fixture(scope="module")
def judge(family):
    return family.load(CPU)


@pytest.fixture
def prepared(composed, make_clips, family):
    """Records of very different lengths, and their record encoder."""

    def build(*overrides):
        task = build_task(composed(*overrides))
        file = make_clips("clip", 4, seconds=(0.1, 3.21, 1.0, 7.77))
        records = read_records(file, task.record_format()).records
        processor = family.processor()
        return records, RecordEncoder(task, processor, family, max_seconds=30, cache_clips=8)

    return build


def plain_logits(plain, record_encoder, record, dimension, side):
    """The logits of one question that transformers prepares and runs."""
    processor = plain_processor(side)
    messages = record_encoder.task.messages(record, dimension)
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = processor(
        text=[text + "<answer>"],
        audio=[decode(record.clip, 16_000)],
        sampling_rate=16_000,
        return_tensors="pt",
    )
    with torch.no_grad():
        return plain(**inputs).logits[0, -1]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["context_first", "criteria_first", "rubric_first"])
def test_logits_equal_plain_transformers(plain, judge, prepared, layout):
    records, record_encoder = prepared(f"task.prompt_layout={layout}")
    dimensions = record_encoder.task.dimensions[::5]
    encoded = [record_encoder.encode(record, dimensions) for record in records]
    expected = [
        plain_logits(plain, record_encoder, record, dimension, "left")
        for record, dimension in itertools.product(records, dimensions)
    ]
    for shared_prefix in (True, False):
        batch = collate(encoded, pad=record_encoder.pad, shared_prefix=shared_prefix)
        with torch.no_grad():
            logits = judge(**batch.inputs).logits
        torch.testing.assert_close(logits, torch.stack(expected), atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_equal_a_padded_batch_of_plain_transformers(plain, judge, prepared, side):
    records, record_encoder = prepared()
    dimension = record_encoder.task.dimensions[0]
    processor = plain_processor(side)
    texts = [
        processor.apply_chat_template(
            record_encoder.task.messages(record, dimension),
            tokenize=False,
            add_generation_prompt=True,
        )
        + "<answer>"
        for record in records
    ]
    inputs = processor(
        text=texts,
        audio=[decode(record.clip, 16_000) for record in records],
        sampling_rate=16_000,
        return_tensors="pt",
        padding=True,
    )
    lengths = inputs.attention_mask.sum(-1)
    last = (
        lengths - 1 if side == "right" else torch.full_like(lengths, inputs.input_ids.shape[1] - 1)
    )
    batch = collate(
        [record_encoder.encode(record, [dimension]) for record in records], pad=record_encoder.pad
    )
    with torch.no_grad():
        expected = plain(**inputs).logits[torch.arange(len(records)), last]
        logits = judge(**batch.inputs).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_scores_do_not_depend_on_batch_order_or_layout(judge, prepared):
    records, record_encoder = prepared(TWO_DIMENSIONS)
    reference = score(judge, records, record_encoder, clips_a_batch=1, shared_prefix=False)
    assert [prediction.id for prediction in reference[::2]] == [record.id for record in records]
    for size, shared in ((1, True), (2, True), (4, True), (4, False)):
        predictions = score(
            judge, records, record_encoder, clips_a_batch=size, shared_prefix=shared
        )
        for prediction, expected in zip(predictions, reference, strict=True):
            assert (prediction.id, prediction.dimension) == (expected.id, expected.dimension)
            np.testing.assert_allclose(prediction.distribution, expected.distribution, atol=1e-4)
    reversed_order = score(judge, records[::-1], record_encoder, clips_a_batch=3)
    by_key = {(prediction.id, prediction.dimension): prediction for prediction in reversed_order}
    for expected in reference:
        prediction = by_key[expected.id, expected.dimension]
        np.testing.assert_allclose(prediction.distribution, expected.distribution, atol=1e-4)


@pytest.mark.slow
def test_scoring_is_deterministic_and_does_not_change_random_states(judge, prepared):
    records, record_encoder = prepared(TWO_DIMENSIONS)
    before = torch.get_rng_state().clone()
    first = score(judge, records, record_encoder)
    assert torch.equal(before, torch.get_rng_state())
    assert first == score(judge, records, record_encoder)


def test_expected_score_is_the_mean_of_the_softmax_over_the_scale(plain, judge, prepared):
    records, record_encoder = prepared()
    prediction = score(judge, records[1:2], record_encoder)[0]
    logits = plain_logits(
        plain, record_encoder, records[1], record_encoder.task.dimensions[0], "left"
    )
    digits = record_encoder.processor.tokenizer.convert_tokens_to_ids(list("12345"))
    probabilities = logits[digits].double().softmax(-1).numpy()
    np.testing.assert_allclose(prediction.distribution, probabilities, atol=1e-5)
    assert prediction.expected == pytest.approx(float(probabilities @ [1, 2, 3, 4, 5]), abs=1e-4)


def test_silence_instead_of_the_clip_changes_the_logits(judge, prepared):
    records, record_encoder = prepared()
    encoded_record = record_encoder.encode(records[1], record_encoder.task.dimensions)
    features = encoded_record.clips[0]
    silence = type(features)(features.values * 0 + features.floor, features.frames, features.floor)
    other = type(encoded_record)(clips=(silence,), questions=encoded_record.questions)
    with torch.no_grad():
        logits, other_logits = (
            judge(**collate([record], pad=record_encoder.pad).inputs).logits
            for record in (encoded_record, other)
        )
    assert (logits - other_logits).abs().amax(dim=1).min() > 1e-3


@pytest.mark.slow
def test_each_question_of_a_batch_uses_the_clip_of_its_record(judge, prepared):
    records, record_encoder = prepared()
    dimensions = record_encoder.task.dimensions[:2]
    alone = [
        judge(
            **collate([record_encoder.encode(record, dimensions)], pad=record_encoder.pad).inputs
        ).logits
        for record in records
    ]
    for shared in (True, False):
        batch = collate(
            [record_encoder.encode(record, dimensions) for record in records],
            pad=record_encoder.pad,
            shared_prefix=shared,
        )
        batch_logits = judge(**batch.inputs).logits
        torch.testing.assert_close(batch_logits, torch.cat(alone), atol=1e-4, rtol=0)
        batch.inputs["clip_order"] = batch.inputs["clip_order"].flip(0)
        if shared:  # in another order the clips have the same total length, but the logits differ
            assert (judge(**batch.inputs).logits - batch_logits).abs().max() > 1e-3


def test_a_wrong_number_of_audio_tokens_is_an_error(judge, prepared):
    records, record_encoder = prepared()
    batch = collate(
        [record_encoder.encode(records[1], record_encoder.task.dimensions)], pad=record_encoder.pad
    )
    batch.inputs["feature_frames"] -= 40
    with pytest.raises(FeatureMismatchError, match=r"reserve 80 audio tokens.* have 70 features"):
        judge(**batch.inputs)


def test_the_head_computes_logits_at_answer_positions_only(judge, prepared):
    records, record_encoder = prepared()
    batch = collate(
        [record_encoder.encode(record, record_encoder.task.dimensions) for record in records],
        pad=record_encoder.pad,
    )
    seen = []
    hook = judge.lm_head.register_forward_hook(lambda _, args, out: seen.append(out.shape))
    judge(**batch.inputs)
    hook.remove()
    assert seen == [(40, judge.config.text_config.vocab_size)]


@pytest.mark.slow
def test_both_layouts_have_equal_gradients(family, prepared):
    records, record_encoder = prepared(TWO_DIMENSIONS)
    rng = np.random.default_rng(0)
    dimensions = record_encoder.task.dimensions
    encoded = [
        record_encoder.encode(
            record, dimensions, [record_encoder.task.target(record, d, rng) for d in dimensions]
        )
        for record in records
    ]
    gradients = []
    for shared in (True, False):
        model = family.load(CPU)
        batch = collate(encoded, pad=record_encoder.pad, shared_prefix=shared)
        logits = model(**batch.inputs).logits
        torch.nn.functional.cross_entropy(logits, batch.labels).backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    names = [name for name, grad in gradients[1].items() if grad is not None]
    assert any("audio_tower" in name for name in names)
    for name in names:
        shared, rows = gradients[0][name], gradients[1][name]
        assert (shared - rows).norm() <= 1e-3 * rows.norm() + 1e-7, name


def test_distributions_of_scales_of_different_length():
    logits = torch.log(torch.tensor([[1.0, 3.0, 4.0, 2.0], [5.0, 1.0, 1.0, 1.0]]))
    batch = Batch(
        inputs={}, labels=torch.tensor([0, 0]), question_of=torch.tensor([0, 1]),
        score_index=torch.tensor([0, 1]), score_tokens=torch.tensor([[0, 1, 2], [1, 0, -1]]),
        scale=torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]), targets=None, tokens=2, clips=2,
    )  # fmt: skip
    # 1:3:4 of 8, and 1:5 of 6
    expected = torch.tensor([[1 / 8, 3 / 8, 4 / 8], [1 / 6, 5 / 6, 0.0]])
    torch.testing.assert_close(distributions(logits, batch), expected)
