"""Scores with several tokens, compared with the summed log-probabilities of plain transformers."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from plain_judge import plain_judge

from dramaeval.config.schema import PACKAGE
from dramaeval.data.audio import decode
from dramaeval.evaluation.scoring import score
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.forward.answer_distributions import choice_log_p
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task
from dramaeval.tasks.question import Target
from dramaeval.training.objectives import answer_ce, expected_mse, soft_ce

TINY = PACKAGE / "models" / "tiny"
HALF_POINTS = [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]
SCALES = {
    "pitch_dynamics": {"from": 0, "to": 10},
    "rhythmic_naturalness": HALF_POINTS,
    "stress_emphasis": [1, 2, 3, 4, 5],
    "emotion_accuracy": ["bad", "poor", "fair", "good", "very good"],
}


@pytest.fixture(scope="module")
def plain():
    return plain_judge()


@pytest.fixture(scope="module")
def family():
    return Qwen2Audio(path=str(TINY))


@pytest.fixture(scope="module")
def judge(family):
    return family.load(torch.device("cpu"))


@pytest.fixture
def prepared(composed, make_clips, family):
    """Two records and an encoder of a task whose dimensions have these scales."""

    def build(scales, *overrides, count=2):
        config = composed(*overrides)
        dimensions = OmegaConf.to_container(config.task.rubric.dimensions)
        for dimension in dimensions:
            if dimension["key"] in scales:
                dimension["scale"] = scales[dimension["key"]]
                del dimension["scores"]
        OmegaConf.update(config.task, "rubric.dimensions", dimensions)
        OmegaConf.update(config.task, "dimensions", list(scales))
        task = build_task(config)
        records = task.read(make_clips("clip", count, seconds=(0.4, 1.1))).records
        return records, RecordEncoder(
            task, family.processor(), family, max_seconds=30, cache_clips=8
        )

    return build


def plain_log_p(plain, processor, question, record, answers):
    """Token ids of the answers and their log-probabilities, ``[answers, tokens]``, by one pass of transformers."""
    text = processor.apply_chat_template(
        question.messages, tokenize=False, add_generation_prompt=True
    )
    sounds = [decode(record.clip, 16_000)] * len(answers)
    options = {"sampling_rate": 16_000, "return_tensors": "pt", "padding": True}
    processor.tokenizer.padding_side = "right"
    inputs = processor(text=[text + answer for answer in answers], audio=sounds, **options)
    begin = processor(text=[text], audio=sounds[:1], **options).input_ids.shape[1]
    with torch.no_grad():
        logits = plain(**inputs).logits[:, begin - 1 : -1].double()
    ids = inputs.input_ids[:, begin:]
    return ids, logits.log_softmax(-1).gather(2, ids[..., None])[..., 0]


def summed(tokenizer, log_p, answers):
    """Σ log p over the tokens of each answer from its score to the first token after the score, ``[answers]``."""
    lead = len(tokenizer(answers[0][: answers[0].index(">") + 1]).input_ids)
    totals = []
    for row, answer in enumerate(answers):
        text = answer[: answer.index("</answer>")]
        count = len(tokenizer(text).input_ids) + 1
        totals.append(float(log_p[row, lead:count].sum()))
    return np.array(totals)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["context_first", "rubric_first"])
def test_every_answer_has_its_summed_log_probability(plain, family, judge, prepared, layout):
    # All 101 answers in one layout; in the other, eleven with one, two and three digits (ten times faster).
    step = 1 if layout == "context_first" else 10
    scales = {**SCALES, "emotion_intensity": list(range(0, 101, step))}
    records, record_encoder = prepared(scales, f"task.prompt_layout={layout}")
    processor = family.processor()
    dimensions = record_encoder.task.dimensions
    layouts = []
    for shared_prefix in (True, False):
        batch = collate(
            [record_encoder.encode(record, dimensions) for record in records],
            pad=record_encoder.pad,
            shared_prefix=shared_prefix,
        )
        with torch.no_grad():
            log_p = choice_log_p(judge(**batch.inputs).logits, batch).double().numpy()
        layouts.append((log_p, score(judge, records, record_encoder, shared_prefix=shared_prefix)))
    single = processor.tokenizer.convert_tokens_to_ids(list("12345"))
    number = 0
    for record in records:
        for question in record_encoder.task.questions(record, dimensions):
            (field,) = question.answer_fields
            last = len(field.choices) - 1
            # Of 101 answers, those around a change of the number of digits; of the second record, the ends of the scale.
            shown = [0, 1, 9, 10, 11, 99, 100] if last == 100 else list(range(last + 1))
            shown = shown if record is records[0] else [0, last]
            answers = [f"<answer>{field.choices[index]}</answer>" for index in shown]
            if field.choices == tuple("12345"):  # scores with one token need no end
                assert batch.score_tokens[number, :5].tolist() == single
                number += 1
                continue
            _, values = plain_log_p(plain, processor, question, record, answers)
            totals = summed(processor.tokenizer, values, answers)
            for log_p, predictions in layouts:
                np.testing.assert_allclose(log_p[number, shown], totals, atol=1e-4)
                all_log_p = log_p[number, : last + 1]
                probabilities = np.exp(all_log_p - np.logaddexp.reduce(all_log_p))
                np.testing.assert_allclose(
                    predictions[number].distribution, probabilities, atol=1e-4
                )
                tolerance = 1e-3 * max(1, field.scale[-1] / 10)
                expected = probabilities @ np.array(field.scale)
                assert predictions[number].expected == pytest.approx(expected, abs=tolerance)
            number += 1
    assert number == batch.questions == 10


@pytest.mark.slow
def test_all_tokens_of_an_answer_with_several_scores_are_trained(plain, family, judge, prepared):
    records, record_encoder = prepared(SCALES, "task=role_all", count=1)
    dimensions = record_encoder.task.dimensions
    (question,) = record_encoder.task.questions(records[0], dimensions)
    written = {"pitch_dynamics": 1, "rhythmic_naturalness": 3, "stress_emphasis": 3, "emotion_accuracy": 4}  # fmt: skip
    order = [field.dimension.key for field in question.answer_fields]
    targets = {d.key: Target(np.eye(len(d.scale))[written[d.key]]) for d in dimensions}
    layouts = []
    for shared_prefix in (True, False):
        batch = collate(
            [record_encoder.encode(records[0], [question], targets)],
            pad=record_encoder.pad,
            shared_prefix=shared_prefix,
        )
        with torch.no_grad():
            layouts.append((judge(**batch.inputs).logits, batch))
    solution = question.solution(tuple(written[key] for key in order)) + "<|im_end|>"
    processor = family.processor()
    _, log_p = plain_log_p(plain, processor, question, records[0], [solution])
    # The label comes after the other scores; its choices are computed in one pass of transformers.
    before = solution[: solution.rindex("]") + 1]
    field = question.answer_fields[-1]
    answers = [f"{before}{text}</answer>" for text in field.choices]
    _, values = plain_log_p(plain, processor, question, records[0], answers)
    lead = len(processor.tokenizer(before).input_ids)
    counts = [len(processor.tokenizer(before + text).input_ids) + 1 for text in field.choices]
    totals = [float(row[lead:count].sum()) for row, count in zip(values, counts, strict=True)]
    probabilities = np.exp(totals - np.logaddexp.reduce(totals))
    error = (probabilities @ np.array(field.scale) - field.scale[written[order[-1]]]) ** 2
    for logits, batch in layouts:
        # Each target is one score, so both objectives are the cross-entropy of all tokens of the answer.
        for objective in (answer_ce, soft_ce):
            assert objective(logits, batch).sum() == pytest.approx(-float(log_p.sum()), abs=1e-3)
        last = choice_log_p(logits, batch)[-1, : len(totals)]
        np.testing.assert_allclose(last.numpy(), totals, atol=1e-4)
        assert float(expected_mse(logits, batch)[-1]) == pytest.approx(error, abs=1e-3)
