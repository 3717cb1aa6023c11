"""Dimensions that are judged with a reference clip: the prompt, the clips that the model gets, and bad input."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf
from plain_judge import plain_judge, plain_processor

from dramaeval import Judge
from dramaeval.api.clip_input import references_of
from dramaeval.config.schema import PACKAGE
from dramaeval.data.audio import decode
from dramaeval.data.feature_cache import FeatureCache
from dramaeval.data.problems import BadRecordsError
from dramaeval.data.shared_content import group_records
from dramaeval.evaluation.scoring import score
from dramaeval.models.forward.judge_model import JudgeModel
from dramaeval.models.inputs.audio_encodings import AudioEncodingCache
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.question_length import question_tokens
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task

TINY = PACKAGE / "models" / "tiny"
WITH_REFERENCE, WITHOUT_REFERENCE = "human_likeness", "appropriateness"


@pytest.fixture(scope="module")
def judge():
    return Judge.load("tiny", device="cpu")


@pytest.fixture
def task(composed):
    """A function that builds a task with one dimension that has a reference and one that has none."""

    def build(*settings, name="speech"):
        if name == "speech":
            settings += ("task/rubric=archetype", "task.context='Prompt: {question}'")
        config = composed(
            f"task={name}", f"task.dimensions=[{WITH_REFERENCE},{WITHOUT_REFERENCE}]", *settings
        )
        OmegaConf.set_struct(config, False)
        for dimension in config.task.rubric.dimensions:
            dimension.reference = dimension.key == WITH_REFERENCE
        return build_task(config)

    return build


def write(folder, *changes):
    rng = np.random.default_rng(0)
    for name, seconds in (("x", 0.5), ("y", 0.8), ("own", 1.3), ("other", 0.9), ("short", 0.02)):
        soundfile.write(folder / f"{name}.wav", rng.normal(0, 0.1, int(16_000 * seconds)), 16_000)
    lines = [
        {
            "id": str(number), "question": "You are a pilot.", "wav_path": "x.wav", "wav_path_reference": "own.wav",
            "annotations": {WITH_REFERENCE: [4, 2], WITHOUT_REFERENCE: [3, 1]},
        } | change
        for number, change in enumerate(changes or [{}])
    ]  # fmt: skip
    file = folder / "records.jsonl"
    lines = [{key: value for key, value in line.items() if value is not None} for line in lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def encoder_of(judge, task):
    return RecordEncoder(task, judge.processor, judge.family, max_seconds=30, cache_clips=10)


def plain_logits(messages, clips):
    """Inputs and last logits of one prompt, prepared and computed by transformers alone."""
    processor = plain_processor()
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    audio = [decode(clip, 16_000) for clip in clips]
    inputs = processor(
        text=[text + "<answer>"], audio=audio, sampling_rate=16_000, return_tensors="pt"
    )
    with torch.no_grad():
        return inputs, plain_judge()(**inputs).logits[0, -1]


@pytest.mark.slow
@pytest.mark.parametrize("shared_prefix", [True, False])
def test_logits_equal_plain_transformers(judge, task, tmp_path, shared_prefix):
    built = task()
    (record,) = built.read(write(tmp_path)).records
    encoder = encoder_of(judge, built)
    batch = collate(
        [encoder.encode(record, built.dimensions)], pad=encoder.pad, shared_prefix=shared_prefix
    )
    with torch.no_grad():
        logits = judge.model(**batch.inputs).logits
    for number, (dimension, clips) in enumerate(
        zip(built.dimensions, ((record.reference, record.clip), (record.clip,)), strict=True)
    ):
        (question,) = built.questions(record, [dimension])
        inputs, expected = plain_logits(question.messages, clips)
        torch.testing.assert_close(logits[number], expected, atol=1e-4, rtol=0)
        # The number of tokens in the plan includes the reference.
        assert question_tokens(encoder, record, question) >= inputs["input_ids"].shape[1]


def test_the_reference_changes_only_scores_of_dimensions_that_have_it(judge, task, tmp_path):
    built = task()
    file = write(tmp_path, {}, {"wav_path_reference": "other.wav"})
    records = built.read(file).records
    (first_score, first_without), (second_score, second_without) = (
        [
            prediction.expected
            for prediction in score(judge.model, [record], encoder_of(judge, built))
        ]
        for record in records
    )
    assert abs(first_score - second_score) > 1e-4
    assert second_without == pytest.approx(first_without, abs=1e-6)


def test_the_encoding_of_a_reference_is_cached_as_that_of_a_clip(judge, task, tmp_path):
    built = task()
    records = built.read(write(tmp_path, {}, {"wav_path": "y.wav"})).records
    cache = FeatureCache(tmp_path / "cache", 10**9)
    encodings = AudioEncodingCache(cache, "tower", "model.audio_tower")
    scores = []
    try:
        for _ in range(2):
            encoder = RecordEncoder(
                built, judge.processor, judge.family, max_seconds=30, cache_clips=10, cache=cache
            )
            encoder.set_encoding_cache(encodings)
            judge.model.encoding_cache = encodings
            scores += [[each.expected for each in score(judge.model, records, encoder)]]
            # Two clips and the reference of both records, encoded only in the first pass.
            assert encodings.encoded == 3
        assert encoder.decoded == 0
    finally:
        judge.model.encoding_cache = JudgeModel.encoding_cache
    assert scores[0] == scores[1]
    plain = [each.expected for each in score(judge.model, records, encoder_of(judge, built))]
    assert scores[0] == pytest.approx(plain, abs=1e-5)


BAD = {
    "none": ({"wav_path_reference": None}, "missing"),
    "a file that is not there": ({"wav_path_reference": "w.wav"}, "no such file"),
    "no text": ({"wav_path_reference": 3}, "a number where a string"),
    "too short": ({"wav_path_reference": "short.wav"}, "too short to be judged"),
}


@pytest.mark.parametrize(("change", "problem"), BAD.values(), ids=BAD)
def test_a_bad_reference_is_reported_with_its_line(task, tmp_path, change, problem):
    with pytest.raises(BadRecordsError) as raised:
        task().read(write(tmp_path, {}, change))
    (found,) = raised.value.problems
    assert (found.line, found.key) == (2, "wav_path_reference")
    assert problem in found.problem


def test_a_task_whose_dimensions_have_no_reference_needs_none(composed, tmp_path):
    built = build_task(composed("task=speech"))
    (record,) = built.read(
        write(tmp_path, {"wav_path_reference": None, "annotations": {
            d.annotation: [2] for d in built.dimensions}})
    ).records  # fmt: skip
    assert record.reference is None
    assert list(record.prompt_clips) == [record.clip]


def test_records_with_one_reference_are_not_duplicates(task, tmp_path):
    records = task().read(write(tmp_path, {}, {"wav_path": "y.wav"})).records
    assert len(set(group_records(records, "clip"))) == 2


def test_a_question_with_all_dimensions_has_the_reference(task, tmp_path, composed):
    config = composed("task=role_all")
    OmegaConf.set_struct(config, False)
    config.task.rubric.dimensions[3].reference = True
    built = build_task(config)
    record = replace(
        task().read(write(tmp_path)).records[0], fields=dict.fromkeys(built.text_fields, "text")
    )
    (question,) = built.questions(record, built.dimensions)
    assert question.clips == (record.reference, record.clip)
    kinds = [part["type"] for part in question.messages[1]["content"]]
    assert kinds == ["text", "audio", "text", "audio", "text"]


def test_examples_are_refused_where_there_is_a_reference(task):
    with pytest.raises(ValueError, match=r"task\.shots=2: the rubric .* reference"):
        task("task.shots=2")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pair", "pair_direct"])
def test_a_pair_is_compared_with_its_reference_in_either_order(judge, task, tmp_path, name):
    built = task(name=name)
    changes = {"wav_path": None, "wav_path_a": "x.wav", "wav_path_b": "y.wav", "annotations": {
        WITH_REFERENCE: ["a"], WITHOUT_REFERENCE: ["b"]}}  # fmt: skip
    (record,) = built.read(write(tmp_path, changes)).records
    first, second = score(judge.model, [record], encoder_of(judge, built))
    (exchanged,) = built.read(
        write(tmp_path, changes | {"wav_path_a": "y.wav", "wav_path_b": "x.wav"})
    ).records
    exchanged_scores, _ = score(judge.model, [exchanged], encoder_of(judge, built))
    assert exchanged_scores.outcomes == pytest.approx(first.outcomes[::-1], abs=1e-6)
    with_other_reference = replace(record, reference=tmp_path / "other.wav", reference_seconds=0.9)
    second_score, other_second = score(
        judge.model, [with_other_reference], encoder_of(judge, built)
    )
    assert second_score.outcomes != pytest.approx(first.outcomes, abs=1e-6)
    assert other_second.outcomes == pytest.approx(second.outcomes, abs=1e-6)
    if name == "pair":
        single = build_single(built, record)
        a, b = (
            score(judge.model, [clip], encoder_of(judge, single))[0].expected for clip in
            (replace(each, ratings={}) for each in record.single_clips())
        )  # fmt: skip
        assert first.margin == pytest.approx(a - b, abs=1e-5)


def build_single(task, record):
    single = task.for_single_clips()
    assert single.record_format(annotated=False).reference_field == "wav_path_reference"
    return single


def test_pairs_are_derived_from_clips_with_one_reference(task, tmp_path):
    changes = [
        {"system": system, "wav_path": clip, "wav_path_reference": reference, "annotations": {
            WITH_REFERENCE: [rating], WITHOUT_REFERENCE: [rating]}}
        for system, clip, reference, rating in (
            ("s", "x.wav", "own.wav", 1), ("t", "y.wav", "own.wav", 4), ("u", "short2.wav", "other.wav", 3),
        )
    ]  # fmt: skip
    soundfile.write(tmp_path / "short2.wav", np.full(8000, 0.1), 16_000)
    (pair,) = task("task.derive.margin=1", name="pair").read(write(tmp_path, *changes)).records
    assert {clip.name for clip in pair.prompt_clips} == {"x.wav", "y.wav", "own.wav"}


def test_references_given_in_python_are_checked(task, composed):
    with_reference, without_reference = task(), build_task(composed("task=archetype"))
    assert references_of(with_reference, "a.wav", 2) == ["a.wav", "a.wav"]
    assert references_of(with_reference, ["a.wav", "b.wav"], 2) == ["a.wav", "b.wav"]
    assert references_of(without_reference, None, 2) == [None, None]
    for given in (None, ["a.wav"], ["a.wav", None]):
        with pytest.raises(ValueError, match=rf"{WITH_REFERENCE} are judged beside a reference"):
            references_of(with_reference, given, 2)
    with pytest.raises(ValueError, match="reference=… is not used"):
        references_of(without_reference, "a.wav", 1)
