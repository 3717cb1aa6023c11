"""Splitting records into parts without common groups, and reporting groups that two parts share."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dramaeval.data.files import content_key, same_content
from dramaeval.data.records import Record
from dramaeval.data.shared_content import group_of, group_records
from dramaeval.data.splitting import (
    APART,
    SplitError,
    default_keys,
    overlap,
    overlap_remarks,
    split_records,
)


def record(number: int, clip: Path | None = None, **fields: Any) -> Record:
    return Record(
        id=f"r{number:03}", file=Path("a.jsonl"), line=number, clip=clip or Path(f"{number}.wav"),
        seconds=1.0, fields=fields, ratings={},
    )  # fmt: skip


# Groups


def test_the_character_is_the_name_then_the_profile_then_the_question() -> None:
    named = record(1, character=" Tony ", char_profile="He teases.", question="?")
    assert group_of(named, "character") == "tony"
    profiles = [record(2, char_profile="He  teases.\n"), record(3, char_profile="he teases.")]
    assert len({group_of(one, "character") for one in profiles}) == 1
    other = record(4, char_profile="She does not.")
    assert group_of(other, "character") != group_of(profiles[0], "character")
    assert group_of(record(5, character=" ", question="你是谁？"), "character") is not None
    assert group_of(record(6), "character") is None
    # A question and a profile of the same words are different groups.
    assert group_of(record(7, question="He teases."), "character") != group_of(
        profiles[0], "character"
    )


def test_groups_by_scene_and_by_any_other_key() -> None:
    assert group_of(record(1, local_scene="A bar."), "scene") == group_of(
        record(2, local_scene="a  bar."), "scene"
    )
    assert group_of(record(1), "scene") is None
    assert group_of(record(1, system="TTS-1"), "system") == "tts-1"
    assert group_of(record(1, take=3), "take") == "3"


def test_clips_with_the_same_bytes_are_the_same(tmp_path: Path) -> None:
    contents = {"a": b"12", "b": b"34", "copy of a": b"12", "longer": b"123"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = {name: tmp_path / name for name in contents}
    same = same_content(paths.values())
    assert same == {path: path for path in paths.values()} | {paths["copy of a"]: paths["a"]}
    groups = group_records([record(i, path) for i, path in enumerate(paths.values())], "clip")
    assert groups == [str(paths[name]) for name in ("a", "b", "a", "longer")]


def test_the_digest_is_blake2b(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # the first half of b2sum of "abc" (RFC 7693, appendix A)
    assert content_key(tmp_path / "a") == "ba80a53f981c4d0d6a2797b69f12f6e94c212f14"


# Overlap


def test_overlap_names_the_lines_of_both_sides(tmp_path: Path) -> None:
    for name in ("1", "2", "3", "4"):
        (tmp_path / name).write_bytes(b"same" if name in "13" else name.encode())
    train = [
        record(1, tmp_path / "1", character="Ann", local_scene="bar"),
        record(2, tmp_path / "2", character="Bob", local_scene="street"),
    ]
    test = [
        record(10, tmp_path / "3", character="Cid", local_scene="Bar"),
        record(11, tmp_path / "4", character="bob"),
        record(12, tmp_path / "4", character="Bob", local_scene="BAR"),
    ]
    found = [(one.key, one.train_lines, one.test_lines) for one in overlap(train, test)]
    assert found == [
        ("character", (2,), (11, 12)),
        ("scene", (1,), (10, 12)),
        ("clip", (1,), (10,)),
    ]
    assert overlap_remarks(overlap(train, test), "val") == [
        "val and train share 1 character (bob): lines 11-12 of val, line 2 of train",
        "val and train share 1 scene (local_scene: bar): lines 10, 12 of val, line 1 of train",
        f"val and train share 1 clip ({tmp_path / '1'}): line 10 of val, line 1 of train",
    ]


def test_remarks_have_one_line_per_key_for_many_shared_groups() -> None:
    """The texts of scenes are not repeated, as in a corpus in which several systems speak the same scenes."""
    beginning = (
        "Evening in the harbour, the crew waits for news of the other ship and nobody says a word "
    )
    records = [record(n, local_scene=f"{beginning}{n}") for n in range(1, 21)]
    (remark,) = overlap_remarks(overlap(records, records[5:], ("scene",)), "test")
    assert remark.startswith("test and train share 15 scenes (such as local_scene: evening in")
    assert remark.count("local_scene: evening in") == 2
    assert remark.endswith("…): lines 6-20 of test, lines 6-20 of train")


def test_a_missing_key_overlaps_with_nothing() -> None:
    assert overlap([record(1)], [record(2)], ("character", "scene")) == []


def corpus() -> list[Record]:
    """Records of 4 systems that speak the same 20 sentences."""
    return [
        record(20 * system + text, transcript=f"Sentence {text}.", system=f"tts-{system}")
        for system in range(4)
        for text in range(20)
    ]


def test_texts_that_several_systems_speak_are_kept_apart_and_overlap(tmp_path: Path) -> None:
    records = corpus()
    for each in records:
        (tmp_path / str(each.clip)).write_bytes(b"%d" % each.line)
    records = [replace(each, clip=tmp_path / each.clip) for each in records]
    parts = split_records(records, {"train": 0.8, "test": 0.2}, 0)
    texts = {name: {r.fields["transcript"] for r in part} for name, part in parts.items()}
    assert not texts["train"] & texts["test"]
    assert [len(part) for part in parts.values()] == [64, 16]
    # If only character, scene and clip are kept apart, sentences of test are also in train.
    named = split_records(records, {"train": 0.8, "test": 0.2}, 0, APART)
    shared = {r.fields["transcript"] for r in named["train"]} & {
        r.fields["transcript"] for r in named["test"]
    }
    found = overlap(named["train"], named["test"])
    assert {one.group for one in found} == {text.casefold() for text in shared} != set()
    assert {one.key for one in found} == {"transcript"}


@pytest.mark.parametrize(
    "change",
    [{"system": "tts-0"}, {"system": None}, {"transcript": None}],
    ids=["one system", "no system", "no transcript"],
)
def test_a_text_that_one_system_speaks_twice_is_not_kept_apart(change: dict[str, Any]) -> None:
    records = [replace(each, fields={**each.fields, **change}) for each in corpus()]
    assert default_keys(records) == APART == ("character", "scene", "clip")
    assert default_keys(corpus()) == (*APART, "transcript")


# Splits

KEYS = ("character", "scene")
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def many(count: int = 200) -> list[Record]:
    choose = random.Random(5)
    return [
        record(i, character=f"c{choose.randrange(60)}", local_scene=f"s{i // 2}")
        for i in range(count)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_parts_are_disjoint_and_complete(seed: int) -> None:
    records = [record(i, character=f"c{i // 3}", local_scene=f"s{i // 4}") for i in range(240)]
    # A character has 3 lines and a scene 4, so 12 lines are linked to one group.
    parts = split_records(records, SHARES, seed, KEYS)
    assert sorted(r.line for part in parts.values() for r in part) == list(range(240))
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 192,
        "val": 24,
        "test": 24,
    }
    for one in parts:
        for other in parts:
            if one != other:
                assert overlap(parts[one], parts[other], KEYS) == []
        assert [r.line for r in parts[one]] == sorted(r.line for r in parts[one])


def test_records_linked_through_others_stay_together() -> None:
    chain = [
        record(0, character="a", local_scene="1"),
        record(1, character="b", local_scene="1"),
        record(2, character="b", local_scene="2"),
        record(3, character="c", local_scene="3"),
    ]
    parts = split_records(chain, {"x": 0.75, "y": 0.25}, 0, KEYS)
    assert [r.line for r in parts["x"]] == [0, 1, 2]
    assert [r.line for r in parts["y"]] == [3]


@pytest.mark.parametrize("seed", range(5))
def test_large_groups_are_placed_first(seed: int) -> None:
    # Eight records are linked and two are not, so only 8 + 2 gives both parts their shares.
    records = [record(i, character="one" if i < 8 else f"c{i}") for i in range(10)]
    parts = split_records(records, {"train": 0.8, "test": 0.2}, seed, KEYS)
    assert [r.line for r in parts["test"]] == [8, 9]


def test_parts_depend_on_the_seed_and_not_on_the_order_of_records() -> None:
    records = [record(i, character=f"c{i}") for i in range(50)]
    first = {r.id for r in split_records(records, SHARES, 1, KEYS)["test"]}
    assert first == {r.id for r in split_records(records[::-1], SHARES, 1, KEYS)["test"]}
    assert len({frozenset(r.id for r in split_records(records, SHARES, seed, KEYS)["test"])
                for seed in range(5)}) > 1  # fmt: skip


def test_the_source_clip_keeps_records_together(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.wav").write_bytes(bytes([number // 2]))
    records = [record(i, tmp_path / f"{i}.wav", character=f"c{i}") for i in range(8)]
    parts = split_records(records, {"train": 3, "test": 1}, 0)
    (pair,) = ({r.line // 2 for r in parts["test"]},)
    assert len(parts["test"]) == 2
    assert len(pair) == 1


def test_an_impossible_split_has_a_reason() -> None:
    linked = [record(i, character="one", local_scene=f"s{i}") for i in range(9)]
    with pytest.raises(SplitError) as error:
        split_records(linked, SHARES, 0, KEYS)
    assert str(error.value) == (
        "nothing is left for val, test: records that share a character (1), scene (9) stay together, also through "
        "other records, and 9 records form 1 group (the largest has 9)"
    )
    assert error.value.apart == ("scene",)
    with pytest.raises(SplitError, match="nothing is left for train, val, test") as error:
        split_records([], SHARES, 0, KEYS)
    assert error.value.advice("--apart {}").endswith("Give more records or fewer parts.")


@pytest.mark.parametrize(
    ("key", "apart"), [("local_scene", "character,clip"), ("character", "scene,clip")]
)
def test_if_all_records_share_a_value_the_other_keys_are_suggested(
    key: str, apart: str, tmp_path: Path
) -> None:
    """All records have the same value of ``key``, which alone links them."""
    other = {"local_scene": "character", "character": "local_scene"}[key]
    records = []
    for i in range(20):
        (tmp_path / f"{i}").write_bytes(b"%d" % i)
        records.append(record(i, tmp_path / f"{i}", **{key: "all", other: f"v{i // 2}"}))
    with pytest.raises(SplitError) as error:
        split_records(records, SHARES, 0)
    assert error.value.advice("--apart {}").endswith(f"every part has records: --apart {apart}.")
    parts = split_records(records, SHARES, 0, apart.split(","))
    assert all(parts.values())
    # With two groups by the other key, three parts cannot all have records, so that key is not suggested.
    pairs = [
        replace(each, fields={**each.fields, other: f"v{i // 10}"})
        for i, each in enumerate(records)
    ]
    with pytest.raises(SplitError) as error:
        split_records(pairs, SHARES, 0)
    assert error.value.apart == ("clip",)


@pytest.mark.parametrize("shares", [{}, {"a": 0.0}, {"a": 1, "b": -1}, {"a": float("nan")}])
def test_invalid_shares_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares must be positive"):
        split_records(many(), shares, 0, KEYS)


def test_pairs_that_share_a_clip_through_other_pairs_are_one_group(tmp_path: Path) -> None:
    clips = [tmp_path / f"{number}.wav" for number in range(5)]
    for number, clip in enumerate(clips):
        clip.write_bytes(bytes([number]))
    a, b, c, d, e = clips
    pairs = [
        replace(record(1, a), clip_b=b),
        replace(record(2, d), clip_b=e),
        replace(record(3, c), clip_b=b),
        record(4, c),
        record(5, e),
    ]
    first, second, third, single, other = group_records(pairs, "clip")
    assert first == third == single
    assert second == other
    assert first != second
