"""The cache of clip features: damaged entries, the size limit, several processes, and files of others."""

import logging
import multiprocessing
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
import torch

from dramaeval.data import feature_cache
from dramaeval.data.feature_cache import FeatureCache
from dramaeval.data.files import MAX_FILE_BYTES, content_key

OLD = (time.time() - 7200,) * 2


def entry(value, size=256):
    return {"values": torch.full((size,), float(value))}


def files(folder):
    return sorted(folder.glob("??/*"))


def contents(folder):
    """Everything below a folder by relative path: the target of links, the content of files, True for folders."""
    return {
        path.relative_to(folder): os.readlink(path)
        if path.is_symlink()
        else path.is_dir() or path.read_bytes()
        for path in folder.rglob("*")
    }


def test_another_process_reads_the_entries(tmp_path):
    FeatureCache(tmp_path, 10**9).put("a clip", entry(3) | {"half": torch.ones(2).bfloat16()})
    found = FeatureCache(tmp_path, 10**9).get("a clip")
    assert torch.equal(found["values"], entry(3)["values"])
    assert found["half"].dtype == torch.bfloat16
    assert FeatureCache(tmp_path, 10**9).get("another") is None


def test_a_damaged_entry_is_ignored_and_counted(tmp_path):
    cache = FeatureCache(tmp_path, 10**9)
    not_tensors = feature_cache._digest(b"x" * 20) + b"x" * 20
    damages = (
        lambda raw: raw[:-1],
        lambda raw: raw[:10],
        lambda raw: b"",
        lambda raw: raw[:-1] + b"\0",
        lambda raw: not_tensors,
    )
    for number, damage in enumerate(damages):
        cache.put("clip", entry(number))
        assert torch.equal(cache.get("clip")["values"], entry(number)["values"])
        (path,) = files(tmp_path)
        path.write_bytes(damage(path.read_bytes()))
        assert cache.get("clip") is None
        assert cache.counts["damaged"] == number + 1


def test_the_least_recently_used_entry_is_deleted_first(tmp_path):
    limit = 10 * 1200  # an entry has 1,024 bytes of values, a header and a digest
    cache = FeatureCache(tmp_path, limit)
    for number in range(40):
        cache.put(str(number), entry(number))
        assert cache.get("0") is not None  # entry 0 is used each time
        time.sleep(0.002)
    assert sum(path.stat().st_size for path in files(tmp_path)) <= limit
    assert cache.counts["evicted"] >= 29
    assert cache.get("39") is not None
    assert cache.get("1") is None


def test_files_of_a_killed_process_are_deleted(tmp_path):
    cache = FeatureCache(tmp_path, 10**9)
    cache.put("a", entry(1))
    (path,) = files(tmp_path)
    old, new = (path.with_name(f"{path.name}.{pid}-{'0' * 32}.tmp") for pid in (1, 2))
    for unfinished in (old, new):
        unfinished.write_bytes(b"half")
    os.utime(old, OLD)
    FeatureCache(tmp_path, 10**9).put(
        "b", entry(2)
    )  # the folder is cleaned at the first write of a process
    assert not old.exists()
    assert new.exists()


def _write_and_read(folder, seed):
    cache = FeatureCache(folder, 30_000)
    for number in range(200):
        key = str((number * 7 + seed) % 30)
        found = cache.get(key)
        if found is not None and not torch.equal(found["values"], entry(key)["values"]):
            os._exit(1)
        cache.put(key, entry(key))
    os._exit(3 if cache.counts["damaged"] or cache.counts["not kept"] else 0)


@pytest.mark.slow
def test_several_processes_can_read_write_and_evict_at_the_same_time(tmp_path):
    context = multiprocessing.get_context("fork")
    folder = tmp_path / "made by whichever is first"
    workers = [context.Process(target=_write_and_read, args=(folder, s)) for s in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert not list(folder.glob("??/*.tmp"))


# Files that are not of the cache


def fill_until_it_evicts(folder, first=0):
    """Write and read many more entries than fit the limit of the cache."""
    cache = FeatureCache(folder, 5_000)
    for key in map(str, range(first, first + 20)):
        cache.put(key, entry(1))
        cache.get(key)
    return cache


@pytest.mark.parametrize("mark", [None, "Signature: 8a477f597d28d172789f06886806bc55\n", "folder"])
def test_a_folder_with_other_files_is_not_used(tmp_path, caplog, mark):
    for name in ("en/1.wav", "en/2.tmp", "ab/" + "ab" * 20 + ".clip", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"recorded once")
        os.utime(tmp_path / name, OLD)
    if mark == "folder":
        (tmp_path / "CACHEDIR.TAG").mkdir()
    elif mark:  # of another program's cache
        (tmp_path / "CACHEDIR.TAG").write_text(mark)
    before = contents(tmp_path)
    cache = fill_until_it_evicts(tmp_path)
    assert contents(tmp_path) == before
    assert cache.counts == {"not kept": 20}
    (message,) = [record.message for record in caplog.records]
    assert f"{tmp_path} holds files that are not of this cache" in message
    assert "cache.folder" in message


def test_files_added_to_the_cache_later_are_kept(tmp_path):
    folder, outside = tmp_path / "cache", tmp_path / "outside"
    fill_until_it_evicts(folder)
    name = "ab" * 20 + ".clip"
    (outside / "ab").mkdir(parents=True)
    for path in (
        folder / "en" / "1.wav",
        folder / "en" / name,
        folder / "00" / name,  # of another subfolder
        folder / "00" / "old.tmp",
        folder / "00" / f"{'00' * 20}.clip.12-34.tmp",
        folder / "abc" / name,
        folder / name,
        outside / name,
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"kept by the user")
        os.utime(path, OLD)
    (folder / "00" / f"{'00' * 20}.clip").symlink_to(outside / name)
    (folder / "00" / f"{'00' * 19}01.clip").mkdir()
    os.mkfifo(folder / "00" / f"{'00' * 19}02.clip")
    links = [folder / f"{value:02x}" for value in range(1, 128)]
    links = [link for link in links if not link.exists()]
    for link in links:
        link.symlink_to(outside)
    foreign_files = [folder / "00", folder / "en", folder / "abc", folder / name, *links]
    before = [os.lstat(path).st_mtime_ns for path in foreign_files], contents(outside)
    cache = fill_until_it_evicts(folder, first=100)
    assert ([os.lstat(path).st_mtime_ns for path in foreign_files], contents(outside)) == before
    assert cache.counts["not kept"] > 0  # entries whose subfolder is a link
    assert cache.counts["evicted"] > 0


def test_entries_of_another_owner_are_kept(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    fill_until_it_evicts(tmp_path)
    foreign_files = files(tmp_path)
    assert foreign_files
    for path in foreign_files:
        os.chown(path, 4321, 4321)
        os.utime(path, OLD)
    cache = fill_until_it_evicts(tmp_path, first=100)
    assert set(foreign_files) <= set(files(tmp_path))
    assert cache.counts["evicted"] > 0


@pytest.mark.parametrize("obstacle", ["folder", "pipe", "link to nothing", "loop", "huge"])
def test_an_obstacle_in_the_place_of_an_entry_does_not_affect_other_entries(
    tmp_path, caplog, obstacle
):
    cache = FeatureCache(tmp_path, 10**9)
    cache.put("a", entry(1))
    (path,) = files(tmp_path)
    path.unlink()
    if obstacle == "folder":
        path.mkdir()
    elif obstacle == "pipe":
        os.mkfifo(path)
    elif obstacle == "huge":
        path.touch()
        os.truncate(path, 30 * 2**30)  # sparse
    else:
        path.symlink_to(path.name if obstacle == "loop" else "nothing")
    assert cache.get("a") is None
    cache.put("a", entry(2))
    cache.put("a", entry(2))
    if obstacle == "folder":
        assert cache.counts["not kept"] == 2
        assert path.is_dir()
        assert len(caplog.records) == 1
    else:
        assert torch.equal(cache.get("a")["values"], entry(2)["values"])
        assert not path.is_symlink()
    assert FeatureCache(tmp_path, 10).put("b", entry(3)) is None  # this lists the whole folder


def _use_as_nobody(folder):
    os.setgid(65534)
    os.setuid(65534)
    cache, messages = FeatureCache(folder, 10), []
    handler = logging.Handler()
    handler.emit = messages.append
    feature_cache.log.addHandler(handler)
    for number in range(3):
        cache.get("a")
        cache.put(f"by nobody {number}", entry(1))
    assert cache.counts["not kept"] == 3
    assert len(messages) == 1
    os._exit(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o755, 0o000])
def test_a_folder_that_may_not_be_written_is_reported_once(mode):
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        FeatureCache(folder, 10**9).put("a", entry(1))
        folder.chmod(mode)
        process = multiprocessing.get_context("fork").Process(target=_use_as_nobody, args=(folder,))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert len(files(folder)) == 1
    finally:
        shutil.rmtree(folder)


def test_a_folder_that_cannot_be_created_is_reported_once(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    cache = FeatureCache(tmp_path / "file" / "below", 10**9)
    cache.put("a", entry(1))
    cache.put("b", entry(1))
    assert cache.get("a") is None
    assert cache.counts["not kept"] == 2
    (record,) = caplog.records
    assert "Not a directory" in record.message


def test_a_folder_deleted_meanwhile_is_created_again_with_its_marker(tmp_path):
    folder = tmp_path / "cache"
    cache = FeatureCache(folder, 10**9)
    cache.put("a", entry(1))
    shutil.rmtree(folder)
    cache.put("a", entry(2))
    again = FeatureCache(folder, 10**9)
    assert torch.equal(again.get("a")["values"], entry(2)["values"])


# Keys


def test_the_key_of_a_clip_depends_on_its_content_and_not_on_its_name(tmp_path):
    one, other = tmp_path / "one.wav", tmp_path / "other.wav"
    for path in (one, other):
        path.write_bytes(b"the same")
    first = content_key(one)
    assert first == content_key(other)
    one.write_bytes(b"another length")
    assert content_key(one) != first


def test_files_that_are_not_clips_have_no_key(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", MAX_FILE_BYTES + 1)
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "sparse", "/dev/zero"):
        with pytest.raises(OSError, match=r"is a folder|not a regular file|bytes, more than"):
            content_key(path)
