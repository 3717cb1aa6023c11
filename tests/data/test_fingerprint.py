"""Fingerprints of records and content hashes of files."""

import os

import pytest
import xxhash

from dramaeval.data import content_hashes
from dramaeval.data.content_hashes import ContentHashes
from dramaeval.data.feature_cache import FeatureCache
from dramaeval.data.files import content_key
from dramaeval.data.fingerprint import differences, read_prints, record_prints, write_prints
from dramaeval.data.records import Record


@pytest.fixture
def records(tmp_path):
    """A function that builds four records in a folder from lines that ``change`` returns."""

    def build(change=lambda lines: lines, folder="data"):
        (tmp_path / folder).mkdir(exist_ok=True)
        for number in range(4):
            (tmp_path / folder / f"a{number}.wav").write_bytes(b"clip %d" % number)
        lines = [
            {
                "id": f"a-{n}",
                "transcript": f"Say {n}.",
                "wav_path": f"a{n}.wav",
                "annotations": {"x": [n, 2]},
            }
            for n in range(4)
        ]
        return [
            Record(
                id=line["id"], file=tmp_path / folder / "a.jsonl", line=number, fields=line, ratings={}, seconds=1,
                clip=tmp_path / folder / line["wav_path"],
            )
            for number, line in enumerate(change(lines), 1)
        ]  # fmt: skip

    return build


@pytest.fixture
def fingerprints_of(records):
    return lambda *options, **named: record_prints(records(*options, **named), ContentHashes())


def with_inverted_ratings(lines):
    for line in lines:
        line["annotations"] = {k: [6 - x for x in v] for k, v in line["annotations"].items()}
    return lines


def with_another_id(lines):
    lines[2]["id"] = "other"
    return lines


def with_another_text(lines):
    lines[1]["transcript"] += "!"
    return lines


def with_exchanged_clips(lines):
    # The set of clips and the texts are the same.
    (lines[0]["wav_path"], lines[1]["wav_path"]) = (lines[1]["wav_path"], lines[0]["wav_path"])
    return lines


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: lines, []),
        (lambda lines: [dict(reversed(line.items())) for line in lines], []),
        (with_inverted_ratings, ["4 of 4 records have other texts or ratings (a-0, a-1, a-2, …)"]),
        (with_another_text, ["1 of 4 records has other texts or ratings (a-1)"]),
        (with_another_id, ["1 of 4 records has another id (a-2 → other)"]),
        (lambda lines: lines[:2], ["2 of 4 records are missing (a-2, a-3)"]),
        (lambda lines: [*lines, lines[0] | {"id": "x", "transcript": "x"}], ["1 record is new (x)"]),
        (lambda lines: lines[::-1], ["the records are in another order"]),
        (with_exchanged_clips, ["2 of 4 records have other texts or ratings (a-0, a-1)",
                      "2 of 4 records have another clip (a-0, a-1)"]),
    ],
)  # fmt: skip
def test_differences_name_the_records(fingerprints_of, change, expected):
    assert differences(fingerprints_of(), fingerprints_of(change)) == expected


def test_another_content_under_the_same_path_is_another_clip(records):
    four_records = records()
    before = record_prints(four_records, ContentHashes())
    four_records[3].clip.write_bytes(b"clip X")
    assert differences(before, record_prints(four_records, ContentHashes())) == [
        "1 of 4 records has another clip (a-3)"
    ]
    # A judge without audio reads no clips.
    without_audio = record_prints(four_records, ContentHashes(), reads_audio=False)
    four_records[3].clip.unlink()
    assert record_prints(four_records, ContentHashes(), reads_audio=False) == without_audio


def test_folders_do_not_change_the_fingerprint(fingerprints_of, tmp_path):
    def absolute(lines):
        for line in lines:
            path = str(tmp_path / "elsewhere" / line["wav_path"])
            line |= {"wav_path": path, "prompt": [{"content": [{"audio_url": path}]}]}
        return lines

    def with_prompt(lines):
        return [
            {**line, "prompt": [{"content": [{"audio_url": line["wav_path"]}]}]} for line in lines
        ]

    assert fingerprints_of(with_prompt) == fingerprints_of(absolute, folder="elsewhere")


def test_fingerprints_are_read_back_unchanged(fingerprints_of):
    entry = fingerprints_of()[0]._replace(id='"\ud800\u2028\n')
    assert read_prints(write_prints({"a": [entry], "b": [], "c": fingerprints_of()})) == {
        "a": [entry],
        "c": fingerprints_of(),
    }


def test_an_unchanged_file_is_hashed_once(tmp_path, monkeypatch):
    file, origin = tmp_path / "a.wav", tmp_path / "a.jsonl"
    file.write_bytes(b"one")
    expected = xxhash.xxh3_128_hexdigest(b"one")
    # A file that was changed just before could change again within the same time stamp, so it is read again.
    for _ in range(2):
        hashes = ContentHashes(tmp_path / "kept")
        assert hashes.of([file, file], origin=origin) == {file: expected}
        assert hashes.read == 1
    monkeypatch.setattr(content_hashes, "SETTLED_NS", 0)

    def in_a_new_process(folder):
        monkeypatch.setattr(content_hashes, "_KNOWN", {})
        hashes = ContentHashes(folder)
        assert hashes.of([file], origin=origin) == {file: expected}
        return hashes.read

    assert in_a_new_process(None) == 1
    hashes = ContentHashes()
    assert (hashes.of([file], origin=origin)[file], hashes.read) == (expected, 0)
    assert [in_a_new_process(tmp_path / "kept") for _ in range(3)] == [1, 0, 0]
    # A damaged list of hashes is not used.
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_text(kept.read_text().replace(expected, "0" * 32))
    assert in_a_new_process(tmp_path / "kept") == 1


@pytest.mark.parametrize("key", [content_key, None])
def test_a_change_that_keeps_size_and_time_is_detected(tmp_path, monkeypatch, key):
    monkeypatch.setattr(content_hashes, "SETTLED_NS", 0)
    file = tmp_path / "a.wav"
    hash_of = key or (lambda clip: ContentHashes(tmp_path / "kept").of([clip], origin=clip)[clip])
    file.write_bytes(b"one")
    status = file.stat()
    before = hash_of(file)
    while (
        file.stat().st_ctime_ns == status.st_ctime_ns
    ):  # until the clock of the file system has moved
        file.write_bytes(b"two")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_mtime_ns == status.st_mtime_ns
    assert hash_of(file) != before


def test_a_cache_folder_has_a_folder_for_hashes_unless_it_has_foreign_files(tmp_path):
    cache = FeatureCache(tmp_path / "new", 10**6)
    side = cache.side_folder("hashes")
    side.mkdir()
    (side / "a.json").write_text("{}")
    assert FeatureCache(tmp_path / "new", 10**6).side_folder("hashes") == side
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("")
    assert FeatureCache(tmp_path / "foreign", 10**6).side_folder("hashes") is None
