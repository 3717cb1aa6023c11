"""Answers with several fields, options and thoughts, compared with plain transformers on single sequences."""

import json

import numpy as np
import pytest
import torch
from plain_judge import plain_judge, plain_processor

from dramaeval.config.schema import PACKAGE
from dramaeval.data.audio import decode
from dramaeval.data.records import read_records
from dramaeval.evaluation.scoring import score
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.forward.answer_distributions import choice_log_p, distributions
from dramaeval.models.inputs.batch import UNTRAINED, Batch
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.dump import dump
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task
from dramaeval.tasks.question import THINK, Target
from dramaeval.training.objectives import answer_ce, choice_ce, soft_ce

TINY = PACKAGE / "models" / "tiny"


@pytest.fixture(scope="module")
def plain():
    return plain_judge()


@pytest.fixture(scope="module")
def family():
    return Qwen2Audio(path=str(TINY))


@pytest.fixture(scope="module")
def judge(family):
    return family.load(torch.device("cpu"))


@pytest.fixture(scope="module")
def processor():
    return plain_processor()


@pytest.fixture
def prepared(composed, make_clips, family):
    def build(*overrides, count=2):
        task = build_task(composed(*overrides))
        records = task.read(make_clips("clip", count, seconds=(1.0, 2.3))).records
        return records, RecordEncoder(
            task, family.processor(), family, max_seconds=30, cache_clips=8
        )

    return build


@pytest.fixture
def options(composed, make_clips, family):
    """Two multiple-choice questions about clips; one option of the first is the start of another option."""
    file = make_clips("clip", 2, seconds=(1.0, 2.3))
    clips = [json.loads(line)["wav_path"] for line in file.read_text().splitlines()]
    lines = [
        {"id": at, "question_text": "What is it?", "multi_choice": texts, "answer": correct, "audio_path": clip}
        for at, (clip, texts, correct) in enumerate(
            zip(clips, (["a dog", "a dog and a cat", "rain"], ["joy", "anger"]), (1, 0), strict=True)
        )
    ]  # fmt: skip
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = build_task(composed("task=avqa", "task.answer_tokens=6"))
    records = task.read(file).records
    return records, RecordEncoder(task, family.processor(), family, max_seconds=30, cache_clips=8)


def plain_logits(plain, processor, question, record, answer):
    """Tokens and logits of one sequence by plain transformers, and the position at which the answer begins."""
    text = processor.apply_chat_template(
        question.messages, tokenize=False, add_generation_prompt=True
    )
    sound = [decode(record.clip, 16_000)]
    inputs = processor(text=[text + answer], audio=sound, sampling_rate=16_000, return_tensors="pt")
    begin = processor(text=[text], audio=sound, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        return inputs.input_ids[0], plain(**inputs).logits[0], begin.input_ids.shape[1]


@pytest.mark.slow
def test_each_dimension_is_scored_after_the_greedy_scores_of_earlier_ones(
    plain, processor, judge, prepared
):
    """Plain transformers decodes greedily, with one forward pass for each field."""
    records, record_encoder = prepared("task=role_all", "task.dimensions=null")
    layouts = [
        score(judge, records, record_encoder, shared_prefix=shared) for shared in (True, False)
    ]
    digits = processor.tokenizer.convert_tokens_to_ids(list("12345"))
    for at, record in enumerate(records):
        (question,) = record_encoder.task.questions(record, record_encoder.task.dimensions)
        answer = ""
        for number, field in enumerate(question.answer_fields):
            answer += field.lead
            _, logits, _ = plain_logits(plain, processor, question, record, answer)
            probabilities = logits[-1, digits].double().softmax(-1).numpy()
            for predictions in layouts:
                prediction = predictions[at * 10 + number]
                assert prediction.dimension == field.dimension.key
                np.testing.assert_allclose(prediction.distribution, probabilities, atol=1e-4)
            answer += str(1 + int(probabilities.argmax()))
        assert answer.startswith("<answer>[PitchDynamics]")


def test_earlier_scores_change_later_ones(judge, prepared):
    records, record_encoder = prepared("task=role_all")
    (question,) = record_encoder.task.questions(records[0], record_encoder.task.dimensions)
    distributions_found = []
    for written in (0, 4):
        certain = np.eye(5)[written]
        targets = {field.dimension.key: Target(certain) for field in question.answer_fields}
        batch = collate(
            [record_encoder.encode(records[0], [question], targets)], pad=record_encoder.pad
        )
        with torch.no_grad():
            distributions_found.append(distributions(judge(**batch.inputs).logits, batch))
    torch.testing.assert_close(distributions_found[0][0], distributions_found[1][0])
    assert (distributions_found[0][1:] - distributions_found[1][1:]).abs().amax(dim=1).min() > 1e-5


def test_earlier_left_out_scores_each_dimension_without_the_others(
    plain, processor, judge, prepared
):
    records, record_encoder = prepared(
        "task=role_all", "task.order=shuffled", "task.earlier=left_out",
        "task.dimensions=[emotion_accuracy,pitch_dynamics]",
    )  # fmt: skip
    predictions = score(judge, records[:1], record_encoder)
    digits = processor.tokenizer.convert_tokens_to_ids(list("12345"))
    questions = record_encoder.task.questions(records[0], record_encoder.task.dimensions)
    assert len(questions) == 2
    for question, prediction, label in zip(
        questions, predictions, ("EmotionAccuracy", "PitchDynamics"), strict=True
    ):
        _, logits, _ = plain_logits(plain, processor, question, records[0], f"<answer>[{label}]")
        probabilities = logits[-1, digits].double().softmax(-1).numpy()
        np.testing.assert_allclose(prediction.distribution, probabilities, atol=1e-4)


@pytest.mark.parametrize("shared_prefix", [True, False])
def test_logits_of_every_token_of_a_long_answer(plain, processor, judge, prepared, shared_prefix):
    records, record_encoder = prepared("task=role_all", "task.order=shuffled")
    dimensions = record_encoder.task.dimensions[:3]
    (question,) = record_encoder.task.questions(records[0], dimensions, np.random.default_rng(3))
    spread = np.array([0.1, 0.2, 0.3, 0.25, 0.15])
    targets = {
        field.dimension.key: Target(spread, written)
        for field, written in zip(question.answer_fields, (4, 0, 2), strict=True)
    }
    batch = collate(
        [record_encoder.encode(records[0], [question], targets)],
        pad=record_encoder.pad,
        shared_prefix=shared_prefix,
    )
    with torch.no_grad():
        logits = judge(**batch.inputs).logits
    solution = question.solution((4, 0, 2)) + "<|im_end|>"
    ids, reference, begin = plain_logits(plain, processor, question, records[0], solution)
    assert batch.labels.tolist() == ids[begin:].tolist()
    torch.testing.assert_close(logits, reference[begin - 1 : -1], atol=1e-4, rtol=0)
    # answer_ce counts each token once.
    log_p = reference[begin - 1 : -1].log_softmax(-1)
    nll = -log_p.gather(1, ids[begin:, None]).sum()
    assert answer_ce(logits, batch).sum() == pytest.approx(float(nll), rel=1e-4)
    names = [key for _, key in batch.question_keys]
    assert names == [field.dimension.key for field in question.answer_fields]
    assert batch.questions == 3


@pytest.mark.slow
def test_likelihoods_of_options_are_those_of_complete_answers(plain, processor, judge, options):
    records, record_encoder = options
    layouts = [
        score(judge, records, record_encoder, shared_prefix=shared) for shared in (True, False)
    ]
    for record, *predictions in zip(records, *layouts, strict=True):
        (question,) = record_encoder.task.questions(record, record_encoder.task.dimensions)
        totals = []
        for option in predictions[0].options:
            answer = f"<answer>{option}</answer><|im_end|>"
            ids, logits, begin = plain_logits(plain, processor, question, record, answer)
            log_p = logits[begin - 1 : -1].double().log_softmax(-1)
            totals.append(float(log_p.gather(1, ids[begin:, None]).sum()))
        # All answers start with <answer>, so its probability cancels.
        probabilities = np.exp(np.array(totals) - np.logaddexp.reduce(totals))
        for prediction in predictions:
            np.testing.assert_allclose(prediction.distribution, probabilities, atol=1e-4)
    for predictions in layouts:
        assert [prediction.answer for prediction in predictions] == [1, 0]
        assert predictions[0].id == "0"


@pytest.mark.slow
def test_written_answers_are_those_of_greedy_generation(plain, processor, judge, options):
    records, record_encoder = options
    predictions = score(judge, records, record_encoder)
    for record, prediction in zip(records, predictions, strict=True):
        (question,) = record_encoder.task.questions(record, record_encoder.task.dimensions)
        text = generated(plain, processor, question, record, "<answer>", 6)
        expected = text.split("</answer>")[0].split("<|im_end|>")[0]
        assert prediction.written == expected
        assert (prediction.written_state == "scored") == (prediction.chosen is not None)


def generated(plain, processor, question, record, opening, tokens):
    text = processor.apply_chat_template(
        question.messages, tokenize=False, add_generation_prompt=True
    )
    inputs = processor(
        text=[text + opening],
        audio=[decode(record.clip, 16_000)],
        sampling_rate=16_000,
        return_tensors="pt",
    )
    with torch.no_grad():
        ids = plain.generate(**inputs, max_new_tokens=tokens, do_sample=False)
    return processor.tokenizer.decode(ids[0, inputs.input_ids.shape[1] :])


def test_objectives_of_options_equal_the_cross_entropy_of_their_tokens(
    plain, processor, judge, options
):
    records, record_encoder = options
    rng = np.random.default_rng(0)
    encoded = [
        record_encoder.encode(
            record,
            record_encoder.task.questions(record, record_encoder.task.dimensions, rng),
            record_encoder.task.targets(record, record_encoder.task.dimensions, rng),
        )
        for record in records
    ]
    results = []
    for shared in (True, False):
        batch = collate(encoded, pad=record_encoder.pad, shared_prefix=shared)
        with torch.no_grad():
            logits = judge(**batch.inputs).logits
        results.append((answer_ce(logits, batch), choice_ce(logits, batch)))
        # The target is one option, so soft_ce is the cross-entropy of its tokens.
        torch.testing.assert_close(soft_ce(logits, batch), results[-1][0], atol=1e-4, rtol=0)
    torch.testing.assert_close(results[0], results[1], atol=1e-3, rtol=1e-4)
    (question,) = record_encoder.task.questions(records[0], record_encoder.task.dimensions)
    answer = "<answer>a dog and a cat</answer><|im_end|>"
    ids, logits, begin = plain_logits(plain, processor, question, records[0], answer)
    nll = -logits[begin - 1 : -1].log_softmax(-1).gather(1, ids[begin:, None]).sum()
    assert float(results[0][0][0]) == pytest.approx(float(nll), rel=1e-4)
    tokens = dump(batch, record_encoder.encoder.tokenizer)
    trained = [token.trained for token in tokens if token.trained]
    assert len(trained) == int((batch.labels != UNTRAINED).sum())
    assert processor.tokenizer.convert_tokens_to_string(trained).count("</answer>") == 2


def test_probabilities_of_options_with_several_tokens_by_hand():
    # Logits over four tokens at three answer positions, uniform except at the second.
    logits = torch.zeros(3, 4)
    logits[1] = torch.log(torch.tensor([0.125, 0.5, 0.25, 0.125]))
    batch = Batch(
        inputs={}, labels=torch.tensor([0, 1, UNTRAINED]), question_of=torch.tensor([0, 0, 0]),
        score_index=torch.tensor([0]), score_tokens=torch.full((1, 2), -1),
        scale=torch.tensor([[0.0, 1.0]]), targets=torch.tensor([[1.0, 0.0]]), tokens=3, clips=1,
        # option 0 is tokens 0, 1 at answers 0, 1: 1/4 · 1/2; option 1 is token 3 at answer 2: 1/4
        terms=torch.tensor([[0, 0, 0, 0], [1, 1, 0, 0], [2, 3, 0, 1]]),
    )  # fmt: skip
    torch.testing.assert_close(choice_log_p(logits, batch).exp(), torch.tensor([[1 / 8, 1 / 4]]))
    torch.testing.assert_close(distributions(logits, batch), torch.tensor([[1 / 3, 2 / 3]]))
    ln2 = float(np.log(2))
    assert float(choice_ce(logits, batch)[0]) == pytest.approx(np.log(3))
    assert float(soft_ce(logits, batch)[0]) == pytest.approx(3 * ln2)
    assert float(answer_ce(logits, batch)[0]) == pytest.approx(3 * ln2)


def test_the_score_follows_the_generated_thought(plain, processor, judge, prepared, monkeypatch):
    """The tiny judge rarely generates </think>, so the test uses a text that it generates as the end of thoughts."""
    records, record_encoder = prepared(
        "task=role_caption", "task.thought_tokens=4", "task.dimensions=[pitch_dynamics]"
    )
    record = records[0]
    (question,) = record_encoder.task.questions(record, record_encoder.task.dimensions)
    text = generated(plain, processor, question, record, THINK, 4)
    (unfinished,) = score(judge, [record], record_encoder)
    if "</think>" not in text:
        assert unfinished.state == "the thought did not end within 4 tokens"
    pieces = map(processor.tokenizer.decode, processor.tokenizer(text)["input_ids"][1:])
    first = next(piece.strip() for piece in pieces if piece.strip())
    monkeypatch.setattr("dramaeval.evaluation.record_reply.THOUGHT", first)
    (prediction,) = score(judge, [record], record_encoder)
    thought = text[: text.index(first)] if first in text else text
    _, logits, _ = plain_logits(
        plain, processor, question, record, f"<think>{thought}</think>\n<answer>"
    )
    digits = processor.tokenizer.convert_tokens_to_ids(list("12345"))
    if prediction.scored:
        probabilities = logits[-1, digits].double().softmax(-1).numpy()
        np.testing.assert_allclose(prediction.distribution, probabilities, atol=1e-4)
    else:
        pytest.fail(f"{first!r} does not end {text!r}: {prediction.state}")


@pytest.mark.slow
def test_scores_after_a_given_thought_and_without_a_thought(plain, processor, judge, prepared):
    digits = processor.tokenizer.convert_tokens_to_ids(list("12345"))
    for how, lead in (("given", "<think>A hum.</think>\n<answer>"), ("skip", "<answer>")):
        records, record_encoder = prepared(
            "task=role_caption",
            f"task.thought_in_scoring={how}",
            "task.dimensions=[pitch_dynamics]",
        )
        fields = {**records[0].fields, "audio_info": {"audio_caption": " A hum. "}}
        record = type(records[0])(**{**vars(records[0]), "fields": fields})
        (question,) = record_encoder.task.questions(record, record_encoder.task.dimensions)
        (prediction,) = score(judge, [record], record_encoder)
        _, logits, _ = plain_logits(plain, processor, question, record, lead)
        probabilities = logits[-1, digits].double().softmax(-1).numpy()
        np.testing.assert_allclose(prediction.distribution, probabilities, atol=1e-4)


def test_scores_are_the_mean_over_wordings(judge, prepared):
    records, record_encoder = prepared(
        "task=role_variation", "task.wordings_in_scoring=3", "task.dimensions=[pitch_dynamics]"
    )
    (prediction,) = score(judge, records[:1], record_encoder)
    questions = record_encoder.task.questions(records[0], record_encoder.task.dimensions)
    assert len(questions) == 3
    distributions_found = []
    for question in questions:
        batch = collate([record_encoder.encode(records[0], [question])], pad=record_encoder.pad)
        with torch.no_grad():
            distributions_found.append(
                distributions(judge(**batch.inputs).logits, batch)[0].double().numpy()
            )
    np.testing.assert_allclose(
        prediction.distribution, np.mean(distributions_found, axis=0), atol=1e-5
    )
    expected = [float(probabilities @ [1, 2, 3, 4, 5]) for probabilities in distributions_found]
    np.testing.assert_allclose(prediction.wordings, expected, atol=1e-4)
    assert prediction.expected == pytest.approx(np.mean(expected), abs=1e-4)
    assert np.ptp(expected) > 1e-6


@pytest.mark.slow
def test_scores_long_answers_and_options_in_one_batch_equal_separate_batches(
    judge, prepared, options
):

    choices, record_encoder = options
    records, all_dimensions = prepared("task=role_all")
    _, single = prepared("task=role", "task.dimensions=[pitch_dynamics]")
    encoded = [
        record_encoder.encode(choices[0], record_encoder.task.dimensions),
        all_dimensions.encode(records[0], all_dimensions.task.dimensions),
        single.encode(records[1], single.task.dimensions),
    ]
    for shared in (True, False):
        with torch.no_grad():
            batch = collate(encoded, pad=record_encoder.pad, shared_prefix=shared)
            rows = distributions(judge(**batch.inputs).logits, batch)
            expected = []
            for encoded_record in encoded:
                single_batch = collate(
                    [encoded_record], pad=record_encoder.pad, shared_prefix=shared
                )
                logits = judge(**single_batch.inputs).logits
                expected += distributions(logits, single_batch)
        for row, reference in zip(rows, expected, strict=True):
            torch.testing.assert_close(row[: len(reference)], reference, atol=1e-4, rtol=0)
            assert float(row[len(reference) :].sum()) == 0


def test_a_task_reads_the_same_records_as_read_records(composed, make_clips):
    task = build_task(composed())
    file = make_clips("a", 2)
    assert task.read(file).records == read_records(file, task.record_format()).records


def test_generated_texts_do_not_depend_on_the_cache_or_the_group_size(judge, options, monkeypatch):

    records, record_encoder = options

    def written():
        return [prediction.written for prediction in score(judge, records, record_encoder)]

    expected = written()
    monkeypatch.setattr("dramaeval.models.forward.generation.ROWS", 1)
    assert written() == expected
    monkeypatch.setattr("dramaeval.evaluation.scoring.supports_cache", lambda model: False)
    assert written() == expected
