"""The cache of clips' features: whole entries or none, a bounded folder, many processes."""

import multiprocessing
import os
import time

import torch

from dramaeval.data.feature_cache import FeatureCache, content_key


def entry(value, size=256):
    return {"values": torch.full((size,), float(value))}


def files(folder):
    return sorted(folder.glob("??/*"))


def test_what_is_kept_is_found_again_by_another_process(tmp_path):
    FeatureCache(tmp_path, 10**9).put("a clip", entry(3) | {"half": torch.ones(2).bfloat16()})
    found = FeatureCache(tmp_path, 10**9).get("a clip")
    assert torch.equal(found["values"], entry(3)["values"])
    assert found["half"].dtype == torch.bfloat16
    assert FeatureCache(tmp_path, 10**9).get("another") is None


def test_a_damaged_entry_is_no_entry_and_is_counted(tmp_path):
    cache = FeatureCache(tmp_path, 10**9)
    for number, damage in enumerate(
        (lambda raw: raw[:-1], lambda raw: raw[:10], lambda raw: b"", lambda raw: raw[:-1] + b"\0")
    ):
        cache.put("clip", entry(1.5))
        (path,) = files(tmp_path)
        path.write_bytes(damage(path.read_bytes()))
        assert cache.get("clip") is None
        assert cache.counts["damaged"] == number + 1
        assert not files(tmp_path)


def test_the_least_recently_used_goes_first(tmp_path):
    room = 10 * 1200  # an entry has 1,024 bytes of values, a header and a digest
    cache = FeatureCache(tmp_path, room)
    for number in range(40):
        cache.put(str(number), entry(number))
        assert cache.get("0") is not None  # used every time
        time.sleep(0.002)
    assert sum(path.stat().st_size for path in files(tmp_path)) <= room
    assert cache.counts["evicted"] >= 29
    assert cache.get("39") is not None
    assert cache.get("1") is None


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    cache = FeatureCache(tmp_path, 10**9)
    cache.put("a", entry(1))
    (path,) = files(tmp_path)
    old, new = path.with_name("x.clip.1.tmp"), path.with_name("y.clip.2.tmp")
    for one in (old, new):
        one.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    FeatureCache(tmp_path, 10**9).put("b", entry(2))  # a process looks when it first writes
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
    os._exit(3 if cache.counts["damaged"] else 0)


def test_processes_may_read_write_and_evict_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write_and_read, args=(tmp_path, s)) for s in range(4)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert [one.exitcode for one in workers] == [0] * 4
    assert not list(tmp_path.glob("??/*.tmp"))


def test_a_folder_that_cannot_be_written_costs_nothing_else(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / "file", 10**9)
    cache.put("a", entry(1))
    assert cache.get("a") is None
    assert cache.counts["not kept"] == 1


def test_a_key_follows_the_content_and_not_the_name(tmp_path):
    one, other = tmp_path / "one.wav", tmp_path / "other.wav"
    for path in (one, other):
        path.write_bytes(b"the same")
    first = content_key(one)
    assert first == content_key(other)
    one.write_bytes(b"another length")
    assert content_key(one) != first
