"""Dimensions judged beside a reference: the prompt, the clips that reach the model, and bad input."""

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
from dramaeval.data.problems import BadRecordsError
from dramaeval.data.shared_content import group_records
from dramaeval.evaluation.scoring import score
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.question_length import question_tokens
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task

TINY = PACKAGE / "models" / "tiny"
BESIDE, ALONE = "human_likeness", "appropriateness"


@pytest.fixture(scope="module")
def judge():
    return Judge.load("tiny", device="cpu")


@pytest.fixture
def task(composed):
    """A task with a dimension beside a reference and one without."""

    def build(*settings, name="speech"):
        if name == "speech":
            settings += ("task/rubric=archetype", "task.context='Prompt: {question}'")
        config = composed(f"task={name}", f"task.dimensions=[{BESIDE},{ALONE}]", *settings)
        OmegaConf.set_struct(config, False)
        for dimension in config.task.rubric.dimensions:
            dimension.reference = dimension.key == BESIDE
        return build_task(config)

    return build


def write(folder, *changes):
    rng = np.random.default_rng(0)
    for name, seconds in (("x", 0.5), ("y", 0.8), ("own", 1.3), ("other", 0.9), ("short", 0.02)):
        soundfile.write(folder / f"{name}.wav", rng.normal(0, 0.1, int(16_000 * seconds)), 16_000)
    lines = [
        {
            "id": str(number), "question": "You are a pilot.", "wav_path": "x.wav", "wav_path_reference": "own.wav",
            "annotations": {BESIDE: [4, 2], ALONE: [3, 1]},
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
    """One prompt, prepared and run by transformers."""
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
        # The plan counts the reference too.
        assert question_tokens(encoder, record, question) >= inputs["input_ids"].shape[1]


def test_the_reference_affects_only_its_dimension(judge, task, tmp_path):
    built = task()
    file = write(tmp_path, {}, {"wav_path_reference": "other.wav"})
    records = built.read(file).records
    (own, own_alone), (other, other_alone) = (
        [
            prediction.expected
            for prediction in score(judge.model, [record], encoder_of(judge, built))
        ]
        for record in records
    )
    assert abs(own - other) > 1e-4
    assert other_alone == pytest.approx(own_alone, abs=1e-6)


BAD = {
    "none": ({"wav_path_reference": None}, "missing"),
    "a file that is not there": ({"wav_path_reference": "w.wav"}, "no such file"),
    "no text": ({"wav_path_reference": 3}, "a number where a string"),
    "too short": ({"wav_path_reference": "short.wav"}, "too short to be judged"),
}


@pytest.mark.parametrize(("change", "problem"), BAD.values(), ids=BAD)
def test_a_bad_reference_is_named_by_its_line(task, tmp_path, change, problem):
    with pytest.raises(BadRecordsError) as raised:
        task().read(write(tmp_path, {}, change))
    (found,) = raised.value.problems
    assert (found.line, found.key) == (2, "wav_path_reference")
    assert problem in found.problem


def test_a_task_without_such_dimensions_needs_no_reference(composed, tmp_path):
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


def test_all_dimensions_in_one_question_have_the_reference(task, tmp_path, composed):
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


def test_examples_are_refused_beside_a_reference(task):
    with pytest.raises(ValueError, match=r"task\.shots=2: the rubric .* reference"):
        task("task.shots=2")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pair", "pair_direct"])
def test_pairs_beside_a_reference(judge, task, tmp_path, name):
    built = task(name=name)
    changes = {"wav_path": None, "wav_path_a": "x.wav", "wav_path_b": "y.wav", "annotations": {
        BESIDE: ["a"], ALONE: ["b"]}}  # fmt: skip
    (record,) = built.read(write(tmp_path, changes)).records
    first, second = score(judge.model, [record], encoder_of(judge, built))
    (exchanged,) = built.read(
        write(tmp_path, changes | {"wav_path_a": "y.wav", "wav_path_b": "x.wav"})
    ).records
    mirror, _ = score(judge.model, [exchanged], encoder_of(judge, built))
    assert mirror.outcomes == pytest.approx(first.outcomes[::-1], abs=1e-6)
    moved = replace(record, reference=tmp_path / "other.wav", reference_seconds=0.9)
    other, other_second = score(judge.model, [moved], encoder_of(judge, built))
    assert other.outcomes != pytest.approx(first.outcomes, abs=1e-6)
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
            BESIDE: [rating], ALONE: [rating]}}
        for system, clip, reference, rating in (
            ("s", "x.wav", "own.wav", 1), ("t", "y.wav", "own.wav", 4), ("u", "short2.wav", "other.wav", 3),
        )
    ]  # fmt: skip
    soundfile.write(tmp_path / "short2.wav", np.full(8000, 0.1), 16_000)
    (pair,) = task("task.derive.margin=1", name="pair").read(write(tmp_path, *changes)).records
    assert {clip.name for clip in pair.prompt_clips} == {"x.wav", "y.wav", "own.wav"}


def test_references_of_the_python_interface(task, composed):
    beside, without = task(), build_task(composed("task=archetype"))
    assert references_of(beside, "a.wav", 2) == ["a.wav", "a.wav"]
    assert references_of(beside, ["a.wav", "b.wav"], 2) == ["a.wav", "b.wav"]
    assert references_of(without, None, 2) == [None, None]
    for given in (None, ["a.wav"], ["a.wav", None]):
        with pytest.raises(ValueError, match=rf"{BESIDE} are judged beside a reference"):
            references_of(beside, given, 2)
    with pytest.raises(ValueError, match="reference=… is not used"):
        references_of(without, "a.wav", 1)
