"""A conversation before the judged clip: the prompt, the clips that the model gets, bad input, the Python interface."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf
from plain_judge import plain_judge, plain_processor

from dramaeval import AudioDataset, Judge
from dramaeval.api.clip_input import turns_of
from dramaeval.config.schema import PACKAGE, Stage
from dramaeval.data.audio import decode
from dramaeval.data.content_hashes import ContentHashes
from dramaeval.data.fingerprint import record_prints
from dramaeval.data.problems import BadRecordsError
from dramaeval.evaluation.controls.control_context import encoder_like
from dramaeval.evaluation.controls.transcript_only import _TextEncoder as TextEncoder
from dramaeval.evaluation.scoring import score
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.question_length import question_tokens
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages import prepare, serve
from dramaeval.stages.api_plan import plan_of
from dramaeval.stages.builders import build_task
from dramaeval.stages.question_lengths import question_lengths

TINY = PACKAGE / "models" / "tiny"
KEYS = ["human_likeness", "appropriateness"]
SPEECH = ("task=speech", "task/rubric=archetype", f"task.dimensions=[{','.join(KEYS)}]")
TURNS = [
    {"role": "guard", "text": "Who goes there?", "wav_path": "guard.wav"},
    {"role": "pilot", "text": "A friend."},
    {"role": "guard", "text": "Prove it!", "wav_path": "guard2.wav"},
]
HEADING = "The conversation before the recording:\n"


@pytest.fixture(scope="module")
def judge():
    return Judge.load("tiny", device="cpu")


@pytest.fixture
def task(composed):
    def build(mode, *settings, overrides=SPEECH):
        return build_task(composed(*overrides, f"task.turns={mode}", *settings))

    return build


def write(folder, *changes):
    """Writes a file of records, each of one clip with turns, and the clips."""
    rng = np.random.default_rng(0)
    lengths = {"x": 0.5, "y": 0.8, "guard": 1.3, "guard2": 0.6, "other": 0.9, "short": 0.02}
    for name, seconds in lengths.items():
        soundfile.write(folder / f"{name}.wav", rng.normal(0, 0.1, int(16_000 * seconds)), 16_000)
    lines = [
        {"id": str(number), "wav_path": "x.wav", "turns": TURNS, "annotations": {key: [4, 2] for key in KEYS}} | change
        for number, change in enumerate(changes or [{}])
    ]  # fmt: skip
    lines = [{key: value for key, value in line.items() if value != "absent"} for line in lines]
    file = folder / "records.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def encoder_of(judge, task, max_seconds=30):
    return RecordEncoder(
        task, judge.processor, judge.family, max_seconds=max_seconds, cache_clips=10
    )


def changed(number, **values):
    """The turns with other values in one of them; a value of None removes the key."""
    turns = [dict(turn) for turn in TURNS]
    turns[number] |= values
    return {"turns": [{k: v for k, v in turn.items() if v is not None} for turn in turns]}


def expected_content(folder, criterion):
    """The content of the user message that the records of `write` must give."""
    return [
        {"type": "text", "text": f"{HEADING}guard: Who goes there?\n"},
        {"type": "audio", "audio_url": str(folder / "guard.wav")},
        {"type": "text", "text": "pilot: A friend.\nguard: Prove it!\n"},
        {"type": "audio", "audio_url": str(folder / "guard2.wav")},
        {"type": "text", "text": "The recording to judge:"},
        {"type": "audio", "audio_url": str(folder / "x.wav")},
        {"type": "text", "text": criterion},
    ]


@pytest.mark.slow
@pytest.mark.parametrize("shared_prefix", [True, False])
def test_logits_equal_plain_transformers(judge, task, tmp_path, shared_prefix):
    built = task("audio")
    (record,) = built.read(write(tmp_path)).records
    encoder = encoder_of(judge, built)
    encoded = encoder.encode(record, built.dimensions)
    assert not encoded.others  # all questions share the clips, and with them the prompt's beginning
    batch = collate([encoded], pad=encoder.pad, shared_prefix=shared_prefix)
    with torch.no_grad():
        logits = judge.model(**batch.inputs).logits
    processor = plain_processor()
    audio = [decode(tmp_path / f"{name}.wav", 16_000) for name in ("guard", "guard2", "x")]
    for row, dimension in enumerate(built.dimensions):
        messages = [
            {"role": "system", "content": built.system},
            {
                "role": "user",
                "content": expected_content(tmp_path, built.rubric.criterion(dimension)),
            },
        ]
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        inputs = processor(
            text=f"{text}<answer>", audio=audio, sampling_rate=16_000, return_tensors="pt"
        )
        with torch.no_grad():
            expected = plain_judge()(**inputs).logits[0, -1]
        torch.testing.assert_close(logits[row], expected, atol=1e-4, rtol=0)
        (question,) = built.questions(record, [dimension])
        # The number of tokens in the plan includes the clips of the turns.
        assert question_tokens(encoder, record, question) >= inputs["input_ids"].shape[1]


def test_the_setting_decides_whether_the_prompt_has_texts_and_clips_of_turns(task, tmp_path):
    file = write(tmp_path)
    built = task("audio")
    (record,) = built.read(file).records
    dimension = built.dimensions[0]
    criterion = built.rubric.criterion(dimension)
    assert built.messages(record, dimension)[1]["content"] == expected_content(tmp_path, criterion)

    built = task("text")
    (record,) = built.read(file).records
    content = built.messages(record, dimension)[1]["content"]
    texts = f"{HEADING}guard: Who goes there?\npilot: A friend.\nguard: Prove it!\n"
    assert [part.get("text") for part in content] == [
        texts,
        "The recording to judge:",
        None,
        criterion,
    ]
    assert list(record.prompt_clips) == [record.clip]

    for built, line in ((task("none"), file), (task("audio"), write(tmp_path, {"turns": []}))):
        (record,) = built.read(line).records
        content = built.messages(record, dimension)[1]["content"]
        assert [part["type"] for part in content] == ["audio", "text"]


@pytest.mark.slow
def test_the_clip_of_a_turn_changes_the_scores_with_turns_audio_only(judge, task, tmp_path):
    file = write(tmp_path, {}, changed(0, wav_path="other.wav"))

    def scores(mode):
        built = task(mode)
        records = built.read(file).records
        found = score(judge.model, records, encoder_of(judge, built))
        return np.reshape([prediction.expected for prediction in found], (2, -1))

    first, second = scores("audio")
    assert np.abs(first - second).min() > 1e-4
    first, second = scores("text")
    np.testing.assert_allclose(first, second, atol=1e-6)


BAD = {
    "none": ({"turns": "absent"}, "turns", "missing"),
    "no list": ({"turns": {}}, "turns", "an object where a list"),
    "no object": ({"turns": [TURNS[0], "Hello"]}, "turns[1]", "a string where an object"),
    "no role": (changed(1, role=None), "turns[1].role", "missing"),
    "empty role": (changed(1, role=" "), "turns[1].role", "empty text"),
    "no text": (changed(2, text=None), "turns[2].text", "missing"),
    "a number as text": (changed(2, text=3), "turns[2].text", "a number where a string"),
    "a number as path": (changed(0, wav_path=3), "turns[0].wav_path", "a number where a string"),
    "a misspelt path": (
        changed(0, wav_path=None, wavpath="guard.wav"), "turns[0].wav_path", 'but "wavpath"'),
    "no such file": (changed(2, wav_path="w.wav"), "turns[2].wav_path", "no such file"),
    "too short": (changed(2, wav_path="short.wav"), "turns[2].wav_path", "too short"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "key", "problem"), BAD.values(), ids=BAD)
def test_bad_turns_are_reported_with_their_line_and_number(task, tmp_path, change, key, problem):
    with pytest.raises(BadRecordsError) as raised:
        task("audio").read(write(tmp_path, {}, change))
    (found,) = raised.value.problems
    assert (found.line, found.key) == (2, key)
    assert problem in found.problem


def test_clips_of_turns_are_trimmed_like_judged_clips_and_not_read_with_turns_text(task, tmp_path):
    file = write(tmp_path, changed(2, wav_path="guard.wav"))
    result = task("audio").read(file, max_seconds=1.0, on_long="trim")
    assert result.notices == ["2 clips trimmed to the first 1 s (line 1)"]
    assert [turn.seconds for turn in result.records[0].turns] == [1.0, 0.0, 1.0]
    (remark,) = task("audio").remarks(result.records)
    assert remark.startswith("have turns without a clip")
    assert task("text").remarks(result.records) == {}
    (tmp_path / "guard.wav").unlink()
    (record,) = task("text").read(file).records
    assert [turn.clip for turn in record.turns] == [None] * 3


def test_the_texts_of_turns_are_searched_for_markup(judge, task, tmp_path):
    built = task("text")
    records = built.read(write(tmp_path, {}, changed(1, text="Go.<|im_end|>"))).records
    (problem,) = encoder_of(judge, built).text_check.problems(built, records)
    assert (problem.line, problem.key) == (2, "turns[1].text")


def test_the_fingerprint_depends_on_the_texts_and_clips_of_turns(task, tmp_path):
    changes = ({}, changed(0, wav_path="other.wav"), changed(1, text="No friend."))
    fingerprints = {}
    for mode in ("audio", "text"):
        records = task(mode).read(write(tmp_path, *changes)).records
        fingerprints[mode] = record_prints(records, ContentHashes(None), reads_audio=True)
    first, other_clip, other_text = fingerprints["audio"]
    assert first.clip == other_text.clip != other_clip.clip
    assert first.fields != other_text.fields
    assert len({entry.clip for entry in fingerprints["text"]}) == 1


def test_a_question_with_long_turns_is_refused_before_weights_load(judge, task, tmp_path):
    built = task("audio")
    file = write(tmp_path, {}, changed(2, wav_path="long.wav"))
    soundfile.write(tmp_path / "long.wav", np.full(16_000 * 70, 0.1), 16_000)
    records = built.read(file, max_seconds=80, on_long="segments").records
    encoder = encoder_of(judge, built, max_seconds=80)
    lengths = question_lengths(
        {"test": records}, built, judge.family, questions_per_clip=None, shared_prefix=True,
        record_encoder=encoder, positions=1500,
    )  # fmt: skip
    (problem,) = lengths.too_long
    assert (problem.line, problem.key) == (2, "prompt")
    assert "task.turns=text" in problem.fix
    # 70 s are two windows of 750 tokens and one of 250.
    short, long = (
        question_tokens(encoder, record, built.questions(record, built.dimensions[:1])[0])
        for record in records
    )
    assert long - short >= 1750 - 25


def test_the_reference_is_between_the_turns_and_the_clip_and_some_stages_refuse_it(
    composed, tmp_path
):
    config = composed(*SPEECH, "task.turns=audio")
    OmegaConf.set_struct(config, False)
    for dimension in config.task.rubric.dimensions:
        dimension.reference = dimension.key == KEYS[0]
    built = build_task(config)
    (record,) = built.read(write(tmp_path, {"wav_path_reference": "other.wav"})).records
    with_reference, without_reference = built.questions(record, built.dimensions)
    assert [clip.stem for clip in with_reference.clips] == ["guard", "guard2", "other", "x"]
    assert [clip.stem for clip in without_reference.clips] == ["guard", "guard2", "x"]
    for question in (with_reference, without_reference):
        audio = [
            part["audio_url"] for part in question.messages[1]["content"] if part["type"] == "audio"
        ]
        assert audio == list(map(str, question.clips))
    labels = [part.get("text") for part in with_reference.messages[1]["content"]]
    assert labels[4:7] == ["The reference recording:", None, "The recording to judge:"]
    config.task.data.train = "train.jsonl"
    config.stages = [Stage.prepare]
    (problem,) = prepare.check(config)
    assert "task.turns=text" in problem
    config.task.turns = "text"
    (problem,) = prepare.check(config)
    assert "a reference is another" in problem
    config.task.dimensions = KEYS[1:]
    assert prepare.check(config) == []
    context = SimpleNamespace(task=built, stages=[Stage.serve])
    (problem,) = serve.check_records(context)
    assert "task.turns=audio" in problem


def test_pairs_are_derived_only_from_clips_with_equal_turns(task, tmp_path):
    changes = [
        {"system": system, "wav_path": clip, "question": "Q", "annotations": {key: [rating] for key in KEYS}} | turns
        for system, clip, rating, turns in (
            ("s", "x.wav", 1, {}), ("t", "y.wav", 4, {}), ("u", "other.wav", 3, changed(0, wav_path="other.wav")),
        )
    ]  # fmt: skip
    overrides = ("task=pair", f"task.dimensions=[{','.join(KEYS)}]", "task.derive.prompt=question")
    for by in ("score", "direct"):
        built = task("audio", "task.derive.margin=1", f"task.by={by}", overrides=overrides)
        (pair,) = built.read(write(tmp_path, *changes)).records
        assert {clip.stem for clip in pair.prompt_clips} == {"x", "y", "guard", "guard2"}
        for question in built.questions(pair, built.dimensions):
            assert [clip.stem for clip in question.clips[:2]] == ["guard", "guard2"]
            content = question.messages[1]["content"]
            audio = [part["audio_url"] for part in content if part["type"] == "audio"]
            assert audio == list(map(str, question.clips))
    assert task("text", overrides=overrides).for_single_clips().turns == "text"


def test_examples_and_multiple_choice_are_refused_with_turns(task, composed):
    with pytest.raises(ValueError, match=r"task\.shots=2: an example would stand between"):
        task("text", "task.shots=2")
    with pytest.raises(ValueError, match=r"task\.turns=all is not known; choose one of none, text"):
        task("all")
    with pytest.raises(ValueError, match=r"task\.turns=text has no place in multiple choice"):
        build_task(composed("task=avqa", "+task.turns=text"))


@pytest.mark.slow
def test_python_and_jsonl_give_the_same_scores(judge, task, tmp_path):
    file = write(tmp_path)
    for mode in ("text", "audio"):
        built = task(mode)
        (record,) = built.read(file).records
        found = score(judge.model, [record], encoder_of(judge, built))
        expected = {prediction.dimension: prediction.expected for prediction in found}
        judge._tasks = {("speech",): built}
        paths = [replace_path(turn, tmp_path) for turn in TURNS]
        arrays = [
            {**turn, "wav_path": decode(turn["wav_path"], 16_000)} if "wav_path" in turn else turn
            for turn in paths
        ]
        clip = str(tmp_path / "x.wav")
        for turns in (paths, arrays, [paths]):
            scores = judge.score([clip], "speech", turns=turns)[0]
            assert {key: each.expected for key, each in scores.items()} == pytest.approx(
                expected, abs=1e-5
            )


@pytest.mark.slow
@pytest.mark.parametrize("by", ["score", "direct"])
def test_compare_in_python_and_a_run_have_the_same_turns(judge, task, tmp_path, by):
    changes = [
        {"system": clip, "wav_path": f"{clip}.wav", "question": "Q", "annotations": {key: [rating] for key in KEYS}}
        for clip, rating in (("x", 1), ("y", 4))
    ]  # fmt: skip
    overrides = ("task=pair", f"task.dimensions=[{','.join(KEYS)}]", "task.derive.prompt=question")
    built = task("audio", "task.derive.margin=1", f"task.by={by}", overrides=overrides)
    (pair,) = built.read(write(tmp_path, *changes)).records
    of_run = {each.dimension: each for each in score(judge.model, [pair], encoder_of(judge, built))}
    judge._tasks = {("pair",): built}
    turns = [replace_path(turn, tmp_path) for turn in TURNS]
    compared = judge.compare(*pair.clips, "pair", question="Q", turns=turns)
    assert list(compared) == KEYS
    for key, each in compared.items():
        shares = (each.p_a, each.p_tie, each.p_b)
        assert shares == pytest.approx(of_run[key].outcomes, abs=1e-5)
    without = judge.compare(*pair.clips, "pair", question="Q", turns=[])
    assert any(abs(without[key].p_a - compared[key].p_a) > 1e-4 for key in KEYS)


def replace_path(turn, folder):
    return turn | {"wav_path": str(folder / turn["wav_path"])} if "wav_path" in turn else turn


def test_turns_given_in_python_are_checked(task):
    samples = np.zeros(16_000, dtype=np.float32)
    turns = [{"role": "guard", "text": "Halt!", "wav_path": samples}]
    text, audio, none = task("text"), task("audio"), task("none")
    assert turns_of(audio, turns, 2) == [turns, turns]
    assert turns_of(audio, [turns, []], 2) == [turns, []]
    assert turns_of(text, turns, 1) == [[{"role": "guard", "text": "Halt!", "wav_path": None}]]
    assert turns_of(audio, [], 2) == [[], []]
    assert turns_of(none, None, 2) == [[], []]
    for built, given, message in (
        (none, turns, "is not used"),
        (text, None, "give turns="),
        (text, [turns], "1 lists of turns for 2 clips"),
        (text, [{"role": "guard"}], r"turns\[0\]\.text missing"),
    ):
        with pytest.raises(ValueError, match=message):
            turns_of(built, given, 2)


def test_clips_of_turns_in_the_plan_in_datasets_and_in_models_of_text(judge, task, tmp_path):
    built, file = task("audio"), write(tmp_path)
    records = built.read(file).records
    plan = plan_of(None, {"test": records}, built)
    # Two questions, each with clips of 1.3, 0.6 and 0.5 s.
    assert plan.splits["test"].seconds == pytest.approx(4.8)
    with pytest.raises(ValueError, match="an item of AudioDataset has one clip"):
        AudioDataset(file, task=built)
    encoder = encoder_like(encoder_of(judge, built), TextEncoder)
    encoded = encoder.encode(records[0], built.dimensions)
    assert encoded.clips == ()
    prompts = [question.question.prompt for question in encoded.questions]
    assert len(prompts) == 2
    assert all(encoder.audio_token not in prompt for prompt in prompts)
