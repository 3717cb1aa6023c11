"""Finding clips: the order of folders, the search by name, and ambiguous names."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from dramaeval.data.clip_paths import NotLocated, locate_clips
from dramaeval.data.unicode_paths import stored_path


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def find(path: str, jsonl: Path, root: Path | None = None) -> Path | NotLocated:
    return locate_clips([path], jsonl=jsonl, audio_root=root)[path]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Three folders that are searched; each has a clip of the same relative path with other content."""
    for name in ("cwd", "data", "root"):
        put(tmp_path / name / "clips" / "a.wav", name.encode())
    put(tmp_path / "root" / "deep" / "er" / "only.wav")
    monkeypatch.chdir(tmp_path / "cwd")
    return {name: tmp_path / name for name in ("cwd", "data", "root")}


def test_clips_are_searched_in_the_working_folder_then_beside_the_jsonl_then_in_the_root(
    places: dict[str, Path],
) -> None:
    jsonl, root = places["data"] / "x.jsonl", places["root"]
    path = "clips/a.wav"
    assert find(path, jsonl, root) == places["cwd"] / path
    (places["cwd"] / path).unlink()
    assert find(path, jsonl, root) == places["data"] / path
    (places["data"] / path).unlink()
    assert find(path, jsonl, root) == root / path
    assert find("elsewhere/only.wav", jsonl, root) == root / "deep" / "er" / "only.wav"


def test_absolute_paths_and_paths_with_parent_folders_are_found(places: dict[str, Path]) -> None:
    jsonl = places["data"] / "x.jsonl"
    clip = places["root"] / "clips" / "a.wav"
    assert find(str(clip), jsonl) == clip
    assert find("../root/clips/a.wav", jsonl) == clip
    foreign_path = str(places["root"] / "no" / "only.wav")  # an absolute path of another machine
    assert find(foreign_path, jsonl, places["root"]) == places["root"] / "deep" / "er" / "only.wav"


def test_a_relative_root_counts_from_the_working_directory(places: dict[str, Path]) -> None:
    found = find("only.wav", places["data"] / "x.jsonl", Path("../root"))
    assert isinstance(found, Path)
    assert found.is_absolute()
    assert found.samefile(places["root"] / "deep" / "er" / "only.wav")


def test_without_a_root_the_folder_of_the_jsonl_is_searched(places: dict[str, Path]) -> None:
    clip = put(places["data"] / "audio" / "b.wav")
    assert find("some/other/b.wav", places["data"] / "x.jsonl") == clip
    assert isinstance(find("only.wav", places["data"] / "x.jsonl"), NotLocated)
    # With a root, only the root is searched.
    assert isinstance(find("some/b.wav", places["data"] / "x.jsonl", places["root"]), NotLocated)


@pytest.mark.parametrize(
    ("stored", "paths", "missing"),
    [
        # One of two systems has not been copied: its clips must not become those of the other.
        ("a/1.wav", ["a/1.wav", "b/1.wav"], ["b/1.wav"]),
        ("deep/1.wav", ["a/1.wav", "b/1.wav", "deep/2.wav"], ["a/1.wav", "b/1.wav", "deep/2.wav"]),
        ("1.wav", ["1.wav", "/there/1.wav"], ["/there/1.wav"]),
        # One path in two spellings, and a path that leads to the file, are no clips of other paths.
        ("a/1.wav", ["a/1.wav", "./a/1.wav", "a/../a/1.wav"], []),
        ("deep/\u00fc.wav", ["a/\u00fc.wav", "a/u\u0308.wav"], []),
        ("deep/1.wav", ["a/1.wav", "a//1.wav"], []),
    ],
)
def test_a_file_found_by_its_name_is_the_clip_of_no_other_path(
    tmp_path: Path, stored: str, paths: list[str], missing: list[str]
) -> None:
    put(tmp_path / stored)
    located = locate_clips(paths, jsonl=tmp_path / "x.jsonl")
    problems = {path: found for path, found in located.items() if isinstance(found, NotLocated)}
    assert list(problems) == missing
    for path in {*paths} - {*missing}:
        assert located[path] == tmp_path / stored
    shared = [found.problem for found in problems.values() if "is also the clip" in found.problem]
    assert len(shared) == sum(Path(path).name == Path(stored).name for path in missing)


@pytest.mark.parametrize(
    ("stored", "path", "near"),
    [
        ("a/c0.wav", "c0", "c0.wav"),
        ("C0.WAV", "x/c0.wav", "C0.WAV"),
        ("c0.flac", "c0.wav", "c0.flac"),
        ("take 1.b.Mp3", "take 1.b", "take 1.b.Mp3"),
        ("\u00dc.wav", "u\u0308", "\u00dc.wav"),
        ("c0.TextGrid", "c0.wav", None),
        ("c0.wav", "c00", None),
        ("c0.wav", "c0.x.wav", None),
    ],
)
def test_a_file_with_another_case_or_ending_is_named_as_the_fix(
    tmp_path: Path, stored: str, path: str, near: str | None
) -> None:
    put(tmp_path / stored)
    found = find(path, tmp_path / "x.jsonl")
    assert isinstance(found, NotLocated)
    given = found.fix.rpartition(": ")[2] if "case and ending" in found.fix else None
    assert given == near


def test_two_files_of_one_name_are_ambiguous(places: dict[str, Path]) -> None:
    root = places["root"]
    put(root / "other" / "only.wav", b"different")
    found = find("no/only.wav", places["data"] / "x.jsonl", root)
    assert isinstance(found, NotLocated)
    assert "2 files have its name" in found.problem
    assert os.path.join("deep", "er", "only.wav") in found.problem
    assert os.path.join("other", "only.wav") in found.problem
    assert "audio_root" in found.fix
    # The folder in the path identifies the file.
    assert find("other/only.wav", places["data"] / "x.jsonl", root) == root / "other" / "only.wav"


def test_links_to_one_file_are_not_ambiguous(places: dict[str, Path]) -> None:
    root = places["root"]
    clip = root / "deep" / "er" / "only.wav"
    (root / "b").mkdir()
    (root / "b" / "only.wav").symlink_to(clip)
    (root / "c").mkdir()
    (root / "c" / "only.wav").hardlink_to(clip)
    (root / "d").symlink_to(root / "deep", target_is_directory=True)
    found = find("no/only.wav", places["data"] / "x.jsonl", root)
    assert isinstance(found, Path)
    assert found.samefile(clip)


def test_linked_folders_are_searched_and_loops_end(tmp_path: Path) -> None:
    clip = put(tmp_path / "store" / "a.wav")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "store", target_is_directory=True)
    for name in ("loop", "again"):  # with two loops, a search without a check would not end
        (tmp_path / "store" / name).symlink_to(root, target_is_directory=True)
    found = find("a.wav", tmp_path / "data" / "x.jsonl", root)
    assert isinstance(found, Path)
    assert found.samefile(clip)


def test_broken_links_and_folders_are_not_taken_for_clips(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.wav").symlink_to(tmp_path / "gone")
    (tmp_path / "two" / "a.wav").mkdir(parents=True)
    clip = put(tmp_path / "three" / "a.wav")
    assert find("no/a.wav", tmp_path / "x.jsonl") == clip


@pytest.mark.parametrize(("on_disk", "in_record"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_other_unicode_normalisation_are_found(
    tmp_path: Path, on_disk: Literal["NFC", "NFD"], in_record: Literal["NFC", "NFD"]
) -> None:
    clip = put(tmp_path / "clips" / unicodedata.normalize(on_disk, "scène.wav"))
    assert find(unicodedata.normalize(in_record, "scène.wav"), tmp_path / "x.jsonl") == clip


@pytest.mark.parametrize(("on_disk", "in_record"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_folders_in_other_unicode_normalisation_are_found(
    tmp_path: Path, on_disk: Literal["NFC", "NFD"], in_record: Literal["NFC", "NFD"]
) -> None:
    """Two speakers have a clip of the same name, so that the name does not identify the clip."""
    first, second = (
        put(tmp_path / unicodedata.normalize(on_disk, f"{name}/été") / "a.wav")
        for name in ("Zoë", "Léa")
    )
    for written in ("{}/été/a.wav", f"{tmp_path}/{{}}/été/a.wav"):
        for name, clip in (("Zoë", first), ("Léa", second)):
            path = unicodedata.normalize(in_record, written.format(name))
            assert find(path, tmp_path / "x.jsonl") == clip
    data = tmp_path / "data"
    assert find(unicodedata.normalize(in_record, "Zoë/été/a.wav"), data / "x", tmp_path) == first
    assert isinstance(find("Zoé/été/a.wav", data / "x", tmp_path), NotLocated)
    root = tmp_path / unicodedata.normalize(in_record, "Zoë")
    assert stored_path(root / "été") == first.parent
    assert stored_path(root / "none") == root / "none"


def test_the_exact_path_is_preferred_to_another_unicode_normalisation(tmp_path: Path) -> None:
    composed, decomposed = (
        put(tmp_path / unicodedata.normalize(form, "é") / "a.wav") for form in ("NFC", "NFD")
    )
    assert find("\u00e9/a.wav", tmp_path / "x.jsonl") == composed
    assert find("e\u0301/a.wav", tmp_path / "x.jsonl") == decomposed
    put(decomposed.parent / "b.wav")  # only the folder in the other form has it
    put(tmp_path / "other" / "b.wav")
    assert find("\u00e9/b.wav", tmp_path / "x.jsonl") == decomposed.parent / "b.wav"


def test_backslashes_are_pointed_out(tmp_path: Path) -> None:
    put(tmp_path / "clips" / "a.wav")
    found = find("clips\\a.wav", tmp_path / "x.jsonl")
    assert isinstance(found, NotLocated)
    assert "with / instead of \\" in found.fix


def test_locate_clips_has_a_result_for_every_path(tmp_path: Path) -> None:
    one, two = put(tmp_path / "1.wav"), put(tmp_path / "b" / "2.wav")
    found = locate_clips(["1.wav", "x/2.wav", "3.wav", "1.wav"], jsonl=tmp_path / "x.jsonl")
    assert found["1.wav"] == one
    assert found["x/2.wav"] == two
    assert isinstance(found["3.wav"], NotLocated)
    assert len(found) == 3
