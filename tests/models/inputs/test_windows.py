"""Clips longer than 30 s, which are split into consecutive windows in one prompt."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from plain_judge import plain_judge
from repository import ROOT

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.config.task_schema import long_clip_problems
from dramaeval.data.audio import decode
from dramaeval.data.feature_cache import FeatureCache
from dramaeval.data.problems import BadRecordsError
from dramaeval.evaluation.scoring import score
from dramaeval.models.families.qwen2_5_omni import Qwen25Omni
from dramaeval.models.families.qwen2_audio import WINDOW, Qwen2Audio
from dramaeval.models.families.voxtral import Voxtral
from dramaeval.models.forward.judge_model import JudgeModel
from dramaeval.models.inputs.audio_encodings import AudioEncodingCache
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.question_length import question_tokens
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.models.inputs.windows import with_audio_parts
from dramaeval.stages.builders import build_task
from dramaeval.stages.compatibility import check_family
from dramaeval.tasks.question import Target
from dramaeval.training.sft.token_budget import size_of

TINY = PACKAGE / "models" / "tiny"
SAMPLE = PACKAGE / "data" / "sample" / "realism"
REAL_SPEECH = Path(
    os.environ.get("DRAMAEVAL_REAL_SPEECH", ROOT.parent / "shared/real/speechocean762/clips")
)
RATE = 16_000
LONG = ("task.data.on_long=segments", "task.data.max_seconds=80")


@pytest.fixture(scope="module")
def family():
    return Qwen2Audio(path=str(TINY))


@pytest.fixture(scope="module")
def judge(family):
    return family.load(torch.device("cpu"))


@pytest.fixture(scope="module")
def processor(family):
    return family.processor()


@pytest.fixture
def task(composed, request):
    return build_task(composed(*getattr(request, "param", ())))


@pytest.fixture
def records(task, make_clips):
    file = make_clips("clip", 3, seconds=(70.0, 3.0, 31.5))
    return task.read(file, max_seconds=80, on_long="segments").records


@pytest.fixture
def encoder_of(task, processor, family):
    """A function that builds an encoder for clips up to ``max_seconds``, with or without a cache."""

    def build(max_seconds=80.0, cache=None):
        return RecordEncoder(
            task, processor, family, max_seconds=max_seconds, cache_clips=8, cache=cache
        )

    return build


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_logits_equal_plain_transformers_with_an_audio_part_for_each_window(
    records, task, processor, judge, encoder_of, shared
):
    record, encoder = records[0], encoder_of()
    dimensions = task.dimensions[:2]
    encoded = encoder.encode(record, dimensions)
    assert [window.frames for window in encoded.clips] == [3000, 3000, 1000]
    batch = collate([encoded], pad=encoder.pad, shared_prefix=shared)
    with torch.no_grad():
        logits = judge(**batch.inputs).logits
    plain = plain_judge()
    wave = decode(record.clip, RATE)
    windows = [wave[start * RATE : (start + 30) * RATE] for start in (0, 30, 60)]
    for row, dimension in enumerate(dimensions):
        system, user = task.messages(record, dimension)
        texts = [part for part in user["content"] if part["type"] == "text"]
        content = [{"type": "audio", "audio_url": "x.wav"}] * 3 + texts
        messages = [system, {"role": "user", "content": content}]
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert "Audio 3" in text
        inputs = processor(
            text=f"{text}<answer>", audio=windows, sampling_rate=RATE, return_tensors="pt"
        )
        with torch.no_grad():
            expected = plain(**inputs).logits[0, -1]
        torch.testing.assert_close(logits[row], expected, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("folder", [SAMPLE / "clips", REAL_SPEECH], ids=["sample", "real speech"])
def test_a_defect_at_second_45_changes_the_score_only_with_segments(
    task, judge, encoder_of, tmp_path, make_clips, folder
):
    """The defects are 3 s of silence and 3 s of loud noise in a clip of 60 s that is joined from shorter clips."""
    if not folder.is_dir():
        pytest.skip(f"the clips of speechocean762 are not at {folder} (DRAMAEVAL_REAL_SPEECH)")
    clips = sorted(folder.glob("*"))[:30]
    joined = np.resize(np.concatenate([decode(clip, RATE) for clip in clips]), 60 * RATE)
    silent, noisy = joined.copy(), joined.copy()
    silent[45 * RATE : 48 * RATE] = 0
    noisy[45 * RATE : 48 * RATE] = np.random.default_rng(0).normal(size=3 * RATE) * 0.3
    file = make_clips("clip", 3)
    for number, wave in enumerate((joined, silent, noisy)):
        soundfile.write(tmp_path / f"clip{number}.wav", wave, RATE, subtype="FLOAT")

    def scores(seconds, on_long):
        first, *others = task.read(file, max_seconds=seconds, on_long=on_long).records
        records = [first, *(replace(first, id=other.id, clip=other.clip) for other in others)]
        encoder = encoder_of(max_seconds=seconds)
        values = [item.expected for item in score(judge, records, encoder, shared_prefix=True)]
        return np.reshape(values, (3, -1))

    whole = scores(60, "segments")
    for defect in whole[1:]:
        assert np.abs(whole[0] - defect).max() > 1e-3
    beginning = scores(30, "trim")
    np.testing.assert_allclose(beginning[1:], beginning[[0, 0]], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "task", [("task.dimensions=[pitch_dynamics,trait_embodiment]",)], indirect=True
)
def test_scores_do_not_depend_on_batch_order_or_padding(records, judge, encoder_of):
    encoder = encoder_of()

    def scores(chosen, shared):
        found = score(judge, chosen, encoder, shared_prefix=shared)
        return {(item.id, item.dimension): item.expected for item in found}

    expected = {}
    for record in records:
        expected |= scores([record], shared=True)
    for chosen, shared in ((records[::-1], True), (records[1:], False)):
        for key, value in scores(chosen, shared).items():
            assert value == pytest.approx(expected[key], abs=1e-4)


def test_estimated_lengths_equal_the_encoded_prompts(records, task, encoder_of):
    """The estimate is never below the true size, and larger by at most 3 tokens, since lengths are rounded up."""
    encoder = encoder_of()
    dimensions = task.dimensions[:1]
    targets = {dimension.key: Target(np.full(5, 0.2)) for dimension in dimensions}
    for record in records:
        encoded = encoder.encode(record, dimensions, targets)
        batch = collate([encoded], pad=encoder.pad, shared_prefix=True)
        size = size_of(
            record,
            encoder,
            task.questions(record, dimensions),
            targets,
            questions_per_clip=None,
            shared_prefix=True,
        )
        assert (
            batch.inputs["input_ids"].numel()
            <= size.tokens
            <= batch.inputs["input_ids"].numel() + 3
        )
        for question, labelled in zip(
            task.questions(record, dimensions), encoded.questions, strict=True
        ):
            answer = labelled.question.answer
            written = len(answer.lead) + len(answer.choice_tokens[0]) + len(answer.tail) - 1
            length = question_tokens(encoder, record, question)
            assert length == len(labelled.question.prompt) + written


def test_windows_are_read_from_the_cache(records, judge, encoder_of, tmp_path):
    cache = FeatureCache(tmp_path / "cache", 10**9)
    first, again = (
        encoder_of(cache=cache),
        encoder_of(cache=FeatureCache(tmp_path / "cache", 10**9)),
    )
    for record in records:
        computed = first.encode(record, first.task.dimensions[:1]).clips
        read = again.encode(record, again.task.dimensions[:1]).clips
        assert [window.key for window in read] == [window.key for window in computed]
        assert len({window.key for window in read}) == len(read)
        for one, other in zip(computed, read, strict=True):
            np.testing.assert_array_equal(one.values, other.values)
    assert (first.decoded, again.decoded) == (3, 0)


@pytest.mark.slow
def test_cached_encodings_of_windows_give_the_same_logits(records, judge, encoder_of, tmp_path):
    cache = FeatureCache(tmp_path / "cache", 10**9)
    encodings = AudioEncodingCache(cache, "tower", "model.audio_tower")
    outputs = []
    try:
        for _ in range(2):
            encoder = encoder_of(cache=cache)
            encoder.set_encoding_cache(encodings)
            judge.encoding_cache = encodings
            encoded = [encoder.encode(record, encoder.task.dimensions[:2]) for record in records]
            with torch.no_grad():
                outputs.append(judge(**collate(encoded, pad=encoder.pad).inputs).logits)
            # 3 + 1 + 2 windows, encoded only in the first pass.
            assert encodings.encoded == 6
        assert encoder.decoded == 0
    finally:
        judge.encoding_cache = JudgeModel.encoding_cache
    assert torch.equal(*outputs)


def test_a_last_window_too_short_for_an_audio_token_is_left_out(encoder_of):
    encoder = encoder_of()
    for extra, frames in ((0, [3000]), (160, [3000]), (320, [3000]), (480, [3000, 3])):
        wave = np.full(30 * RATE + extra, 0.1, dtype=np.float32)
        assert [window.frames for window in encoder.features(wave)] == frames
        assert [window.frames for window in encoder.unread(3000 + extra // 160)] == frames


def test_audio_parts_are_repeated_in_their_order():
    a, b, text = ({"type": kind, "x": kind} for kind in ("audio", "audio", "text"))
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": [a, text, b]}]
    assert with_audio_parts(messages, [2, 3])[1]["content"] == [a, a, text, b, b, b]
    assert with_audio_parts(messages, [1, 1]) == messages


def test_max_seconds_above_30_needs_on_long_segments_and_the_other_way_round(composed):
    def problems(*overrides):
        return long_clip_problems(composed(*overrides).task.data, "task.data")

    assert problems() == problems(*LONG) == problems("task.data.on_long=trim") == []
    (problem,) = problems("task.data.max_seconds=31")
    assert "task.data.on_long=segments" in problem
    (problem,) = problems("task.data.max_seconds=31", "task.data.on_long=trim")
    assert "task.data.on_long=segments" in problem
    (problem,) = problems("task.data.on_long=segments")
    assert "changes nothing" in problem


def test_a_family_refuses_clips_longer_than_it_supports(composed, family):
    config = composed(*LONG, "batch.shared_prefix=false", "peft=none")
    check_family(config, family)
    check_family(config, Qwen25Omni(path="x"))
    with pytest.raises(ConfigError, match="at most 30 s"):
        check_family(config, Voxtral(path="x"))
    config.task.data.max_seconds = 301
    with pytest.raises(ConfigError, match="at most 300 s"):
        check_family(config, Qwen25Omni(path="x"))


def test_the_error_of_a_long_clip_names_settings_that_accept_it(task, make_clips):
    file = make_clips("clip", 1, seconds=(70.2,))
    with pytest.raises(BadRecordsError) as raised:
        task.read(file)
    assert "task.data.on_long=segments task.data.max_seconds=71" in raised.value.problems[0].fix
    with pytest.raises(BadRecordsError, match="more than 60 s"):
        task.read(file, max_seconds=60, on_long="segments")
    (record,) = task.read(file, max_seconds=71, on_long="segments").records
    assert record.seconds == pytest.approx(70.2)


def test_plain_encoder_computes_whole_windows():
    plain = Qwen2Audio(path=str(TINY), plain=["encoder"])
    assert [plain.encoded_frames(frames) for frames in (1, 3000, 3001, 7000)] == [
        WINDOW, WINDOW, 2 * WINDOW, 3 * WINDOW,
    ]  # fmt: skip


@pytest.mark.parametrize(("kept", "expected"), [(10, 2), (2, 2), (1, 4), (0, 4)])
def test_prompts_are_kept_up_to_the_limit(records, task, encoder_of, monkeypatch, kept, expected):
    encoder = encoder_of().for_task(task, prompts_kept=kept)
    tokenised = []
    encode = encoder.encoder.encode_question
    monkeypatch.setattr(
        encoder.encoder, "encode_question", lambda q: tokenised.append(q.key) or encode(q)
    )
    dimension = task.dimensions[0]
    first, second = (
        [encoder.encode(record, [dimension]).questions[0].question for record in records[1:]]
        for _ in range(2)
    )
    assert len(tokenised) == expected
    assert first == second
