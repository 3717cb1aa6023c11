"""The task pair: files of pairs, pairs derived from rated clips, and the questions and targets of pairs."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import soundfile

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.data.problems import BadRecordsError
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task

PROMPT = "You are a calm pilot. You say:"


@pytest.fixture
def task(composed):
    def build(*settings, name="pair"):
        return build_task(composed(f"task={name}", "task.dimensions=[human_likeness]", *settings))

    return build


@pytest.fixture
def clips(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("x", "y", "z"):
        soundfile.write(tmp_path / f"{name}.wav", rng.uniform(-0.1, 0.1, 1600), 16_000)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "x.wav").read_bytes())
    return tmp_path


def pair(number, votes=("a", "b"), **changes):
    record = {
        "id": f"p{number}", "question": PROMPT, "wav_path_a": "x.wav", "wav_path_b": "y.wav",
        "annotations": {"human_likeness": votes},
    } | changes  # fmt: skip
    return {key: value for key, value in record.items() if value is not None}


def rated(name, system, ratings, clip="x", **changes):
    return {
        "id": name, "question": PROMPT, "system": system, "wav_path": f"{clip}.wav",
        "annotations": {"human_likeness": ratings},
    } | changes  # fmt: skip


def write(folder, records):
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return file


def test_votes_may_be_words_or_numbers(task, clips):
    words = ["a", "slightly a", "tie", "slightly b", "b", None]
    records = [pair(1, words), pair(2, [2, 1, 0, -1, -2, None]), pair(3, {"ann": "a", "bob": 1})]
    first, second, third = task().read(write(clips, records)).records
    assert first.ratings["human_likeness"] == (2, 1, 0, -1, -2, None)
    assert second.ratings == first.ratings
    assert third.raters["human_likeness"].ids == ("ann", "bob")
    assert (first.clip.name, first.clip_b.name) == ("x.wav", "y.wav")
    assert first.seconds_b == pytest.approx(0.1)


BAD = {
    "no second clip": (pair(2, wav_path_b=None), "wav_path_b", "missing"),
    "no first clip": (pair(2, wav_path_a=None), "wav_path_a", "missing"),
    "a second clip that is not there": (pair(2, wav_path_b="w.wav"), "wav_path_b", "no such file"),
    "one file twice": (pair(2, wav_path_b="x.wav"), "wav_path_b", "the same file"),
    "two files of the same bytes": (pair(2, wav_path_b="copy.wav"), "wav_path_b", "byte for byte"),
    "an unknown vote": (pair(2, ["a", "c"]), "human_likeness", "not a label of the scale"),
    "a vote off the scale": (pair(2, ["a", 3]), "human_likeness", "off the scale -2 to 2"),
    "a vote between the points": (pair(2, ["a", 0.5]), "human_likeness", "not a whole number"),
    "votes that are no list": (pair(2, "a"), "human_likeness", "a string where a list"),
    "no vote": (pair(2, [None, None]), "annotations", "no rating at all"),
    "two prompts": (pair(2, question_b="Another one."), "question", "differs between the two clips"),
    "no prompt": (pair(2, question=None), "question", "missing"),
}  # fmt: skip


@pytest.mark.parametrize(("record", "key", "problem"), BAD.values(), ids=BAD)
def test_a_bad_pair_is_reported_with_its_line_or_skipped(task, clips, record, key, problem):
    file = write(clips, [pair(1), record])
    with pytest.raises(BadRecordsError) as raised:
        task().read(file)
    (found,) = raised.value.problems
    assert (found.line, found.key) == (2, key)
    assert problem in found.problem
    assert "rename" not in found.fix  # the key of the other clip is not taken for a misspelling
    result = task().read(file, on_bad="skip")
    assert [each.id for each in result.records] == ["p1"]
    assert [each.line for each in result.skipped] == [2]


def test_the_texts_of_the_two_clips_are_not_taken_for_misspellings(task, clips):
    record = pair(2, question=None, question_a="The first.", question_b="The second.")
    with pytest.raises(BadRecordsError) as raised:
        task().read(write(clips, [pair(1), record]))
    assert {(found.problem, found.fix) for found in raised.value.problems} == {
        ("missing", 'give every record a "question"'),
        (
            "differs between the two clips",
            'pair clips of one context, and write its text once, as "question"',
        ),
    }


@pytest.mark.parametrize("other", [pair(2, wav_path_a=None, wav_path_b=None), rated("r", "s", [3])])
@pytest.mark.parametrize("at", [0, 1])
def test_a_file_with_one_pair_is_read_as_a_file_of_pairs(task, clips, other, at):
    # Only the other line has problems, wherever it is.
    lines = [pair(1), pair(3)]
    lines.insert(at, other)
    with pytest.raises(BadRecordsError) as raised:
        task().read(write(clips, lines))
    assert {found.line for found in raised.value.problems} == {at + 1}
    assert {found.key for found in raised.value.problems} >= {"wav_path_a", "wav_path_b"}


def test_files_without_any_preference_are_refused(task, clips):
    with pytest.raises(BadRecordsError) as raised:
        task().read(write(clips, [pair(1, ["tie"]), pair(2, [0, 0])]))
    assert [found.problem for found in raised.value.problems] == ["all votes of 2 pairs are ties"]
    result = task().read(write(clips, [pair(1, ["tie"]), pair(2)]))
    assert task().remarks(result.records) == {"have ties only": 1}
    unvoted = task().read(write(clips, [pair(1, annotations=None)]), annotated=False).records
    assert task().remarks(unvoted) == {}


def test_pairs_of_one_system_are_counted(task, clips):
    records = [pair(1, system_a="s", system_b="s"), pair(2, system_a="s", system_b="t")]
    result = task().read(write(clips, records))
    assert task().remarks(result.records) == {"compare two clips of one system": 1}


def test_derived_votes_are_those_of_raters_who_rated_both(task, clips):
    records = [rated("r1", "s", [5, 3, None, 2], "x"), rated("r2", "t", [4, 3, 5, 1], "y")]
    no_margin = "task.derive.margin=0"
    (derived,) = task(no_margin).read(write(clips, records)).records
    sign = 1 if derived.clip.name == "x.wav" else -1
    votes = (2.0 * sign, 0.0, None, 2.0 * sign)
    assert derived.ratings == {"human_likeness": votes}
    systems = (derived.text("system_a"), derived.text("system_b"))
    assert systems == (("s", "t") if sign == 1 else ("t", "s"))
    assert derived.fields["question"] == PROMPT
    (tied,) = task(no_margin, "task.derive.tie=1").read(write(clips, [
        rated("r1", "s", [5, 3, None, 4], "x"), rated("r2", "t", [4, 3, 5, 1], "y"),
    ])).records  # fmt: skip
    assert tuple(map(abs, (v for v in tied.ratings["human_likeness"] if v is not None))) == (
        0,
        0,
        2,
    )


def test_without_raters_in_common_the_means_decide_the_vote(task, clips):
    records = [
        rated("r1", "s", {"ann": 5, "bob": 4}, "x"), rated("r2", "t", {"eve": 2}, "y"),
    ]  # fmt: skip
    (derived,) = task().read(write(clips, records)).records
    assert derived.ratings["human_likeness"] == ((2.0 if derived.clip.name == "x.wav" else -2.0),)
    assert derived.raters["human_likeness"].unknown


def test_pairs_closer_than_the_margin_are_left_out(task, clips):
    records = [
        rated("r1", "s", [5, 5], "x"), rated("r2", "t", [4, 5], "y"), rated("r3", "u", [1, 1], "z"),
    ]  # fmt: skip
    for margin, expected in ((0, 3), (0.5, 3), (0.51, 2), (4, 1)):
        pairs = task(f"task.derive.margin={margin}").read(write(clips, records)).records
        assert len(pairs) == expected


RECORDS_WITHOUT_PAIRS = {
    "one system": ([rated("r1", "s", [5], "x"), rated("r2", "s", [1], "y")], "one system"),
    "no system": ([rated("r1", "", [5], "x"), rated("r2", "", [1], "y")], "no system"),
    "prompts of one clip": (
        [rated("r1", "s", [5], "x"), rated("r2", "t", [1], "y", question="Another.")],
        "no two of the 2 records have the same prompt",
    ),
    "equal ratings": ([rated("r1", "s", [5], "x"), rated("r2", "t", [5], "y")], "differ by 0.5"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("records", "problem"), RECORDS_WITHOUT_PAIRS.values(), ids=RECORDS_WITHOUT_PAIRS
)
def test_records_without_any_pair_are_refused(task, clips, records, problem):
    with pytest.raises(BadRecordsError) as raised:
        task().read(write(clips, records))
    assert problem in raised.value.problems[0].problem


def test_pairs_derived_from_the_sample_follow_from_the_seed_and_share_no_clip_between_splits(
    composed,
):
    settings = ("task=pair", "task.derive.per_prompt=3")
    task, other = (
        build_task(composed(*settings)),
        build_task(composed(*settings, "task.derive.seed=1")),
    )
    folder = composed("task=pair").task.data.sample
    by_split = {split: task.read(f"{folder}/{split}.jsonl").records for split in ("train", "test")}
    pairs = by_split["train"]
    assert pairs == task.read(f"{folder}/train.jsonl").records  # a function of records and seed
    prompts = [each.fields["question"] for each in pairs]
    assert max(map(prompts.count, prompts)) <= 3
    assert all(each.text("system_a") != each.text("system_b") for each in pairs)
    for first, second in combinations(by_split.values(), 2):
        clips = [{clip for each in split for clip in each.clips} for split in (first, second)]
        assert not clips[0] & clips[1]
    # Either clip may be the first: a share of one half, within 5 standard deviations.
    alphabetical = np.mean([each.text("system_a") < each.text("system_b") for each in pairs])
    assert abs(alphabetical - 0.5) < 5 * 0.5 / len(pairs) ** 0.5
    assert [each.id for each in other.read(f"{folder}/train.jsonl").records] != [
        p.id for p in pairs
    ]


def test_targets_keep_the_mean_vote(task, clips):
    # A vote of 2 is one for a; 1 is half for a and half a tie; -1 is half for b and half a tie.
    (record,) = task().read(write(clips, [pair(1, [2, 1, -1, -1])])).records
    dimension = task().dimensions[0]
    target = task().target(record, dimension, np.random.default_rng(0))
    np.testing.assert_allclose(target, [1 / 4, 1.5 / 4, 1.5 / 4])
    np.testing.assert_allclose(target @ [-1, 0, 1], np.mean([2, 1, -1, -1]) / 2)


def test_with_by_score_each_clip_gets_the_question_of_a_single_clip(task, composed, clips):
    (record,) = task().read(write(clips, [pair(1)])).records
    single = build_task(composed("task=archetype"))
    a, b = task().questions(record, task().dimensions)
    assert [(q.pair.order, [c.name for c in q.clips]) for q in (a, b)] == [
        ("a", ["x.wav"]), ("b", ["y.wav"]),
    ]  # fmt: skip
    for question, clip in ((a, record.clip), (b, record.clip_b)):
        content = question.messages[1]["content"]
        assert content[0] == {"type": "audio", "audio_url": str(clip)}
        assert content[1]["text"] == "\n".join(
            [f"Prompt: {PROMPT}", single.rubric.criterion(single.rubric["human_likeness"])]
        )


def test_a_single_clip_is_judged_by_the_mean_rater_if_pairs_are(task, clips):
    pairs = task("+task.listeners=embed")
    (record,) = pairs.read(write(clips, [pair(1)])).records
    singles = pairs.for_single_clips()
    assert singles.has_listeners
    for listener, line in ((None, "the mean of all raters"), ("ann", 'that of rater "ann"')):
        of_listener = replace(record, listener=listener)
        asked = pairs.questions(of_listener, pairs.dimensions)
        (first, _) = of_listener.single_clips()
        (single,) = singles.questions(first, singles.dimensions)
        assert f"Rating wanted: {line}." in single.messages[1]["content"][1]["text"]
        assert single.messages in [question.messages for question in asked]
    assert not task().for_single_clips().has_listeners


def test_pairs_of_one_clip_have_their_own_prompts(task, clips):
    """Pairs derived from rated clips have the line of their clip a, and only the texts that both clips share."""
    settings = ("task.derive.prompt=scene", "task.optional_context=['Transcript: {transcript}']")
    pairs = task(*settings)
    spoken = {"one": "Yes.", "two": "No.", "three": "Yes.", "four": "Now."}
    records = [
        rated(name, name, [number], clip, scene="harbour", transcript=text)
        for number, ((name, text), clip) in enumerate(zip(spoken.items(), "xyzx", strict=True), 1)
    ]
    derived = pairs.read(write(clips, records)).records
    of_three = [record.text("transcript") for record in derived if record.line == 3]
    assert sorted(map(str, of_three)) == ["None", "None", "Yes."]
    family = Qwen2Audio(path=str(PACKAGE / "models" / "tiny"))

    def encoder():
        return RecordEncoder(pairs, family.processor(), family, max_seconds=30, cache_clips=8)

    def tokens(encoder, record):
        encoded = encoder.encode_with_clips(record, None, pairs.dimensions)
        return [labelled.question for labelled in encoded.all_questions]

    shared = encoder()
    assert all(tokens(shared, record) == tokens(encoder(), record) for record in derived)


def test_with_by_direct_both_orders_are_asked_in_scoring_and_one_in_training(task, clips):
    direct = task(name="pair_direct")
    (record,) = direct.read(write(clips, [pair(1)])).records
    ab, ba = direct.questions(record, direct.dimensions)
    names = [[c.name for c in q.clips] for q in (ab, ba)]
    assert [ab.pair.order, ba.pair.order, *names] == [
        "ab",
        "ba",
        ["x.wav", "y.wav"],
        ["y.wav", "x.wav"],
    ]
    audio = [
        item["audio_url"][-5:] for item in ab.messages[1]["content"] if item["type"] == "audio"
    ]
    assert audio == ["x.wav", "y.wav"]
    orders = [
        [
            q.pair.order
            for q in direct.questions(record, direct.dimensions, np.random.default_rng(s))
        ]
        for s in range(20)
    ]
    assert all(len(order) == 1 for order in orders)
    assert {order[0] for order in orders} == {"ab", "ba"}


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("task.by=both", "task.by=both is not known"),
        ("task.slope=0", "must be above 0"),
        ("task.slope=inf", "must be above 0 and finite"),
        ("task.slope=nan", "must be above 0 and finite"),
        ("task.tie_weight=inf", "must be 0 or more and finite"),
        ("task.tie_weight=nan", "must be 0 or more and finite"),
        ("task.tie_weight=-1", "must be 0 or more"),
        ("task.derive.per_prompt=0", "must be 1 or more"),
        ("task.derive.margin=-1", "must be a number of 0 or more"),
        ("task.derive.margin=much", "must be a number of 0 or more"),
        ("+task.derive.margins=1", "margins is not known.*Did you mean margin"),
        ("task.shots=2", "no examples"),
        ("task.by=direct +task.listeners=embed", "task.listeners=embed needs task.by=score"),
        ("task.clip_label='{title}'", r"clip_label holds \{title\}; it may hold \{name\}"),
        (
            "task.comparison='{name'",
            r"comparison is not a valid template.*\{title\}, \{description\}",
        ),
    ],
)
def test_bad_settings_are_refused(task, setting, problem):
    with pytest.raises(ConfigError, match=problem):
        task(*(("+" if "shots" in setting else "") + setting).split(" "))
