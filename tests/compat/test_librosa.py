"""What `dramaeval.compat.librosa` assumes about librosa and numba, and its lock while functions compile."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from repository import ROOT

from dramaeval.compat import librosa as compat

HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """The cache folder of compiled functions within a new XDG_CACHE_HOME."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", numba.config.CACHE_DIR)
    return compat._cache_folder()


def test_numba_reads_the_private_name_and_keeps_compiled_functions_there(cache, tmp_path):
    assert cache.is_relative_to(tmp_path)
    numba.config.CACHE_DIR = str(cache)
    module = tmp_path / "compiled_for_a_test.py"
    module.write_text("import numba\n@numba.njit(cache=True)\ndef f(x):\n    return x + 1\n")
    namespace: dict[str, object] = {}
    exec(compile(module.read_text(), str(module), "exec"), namespace)
    assert namespace["f"](1) == 2
    assert list(cache.rglob("*.nbi"))


@pytest.fixture(scope="module")
def imported():
    """librosa with functions from the user's own cache, since compiling takes half a minute."""
    return compat.compiled_librosa()


def test_one_process_compiles_at_a_time(imported, cache, monkeypatch):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(cache / "dramaeval.lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    waited = []
    from filelock import FileLock

    def acquire(self, *args, **options):
        waited.append(Path(self.lock_file))
        holder.communicate("")  # end the holder, for which the next line would wait
        return original(self, *args, **options)

    original = FileLock.acquire
    monkeypatch.setattr(FileLock, "acquire", acquire)
    monkeypatch.setattr("librosa.pyin", lambda *_, **__: waited.append("compiled"))
    monkeypatch.setattr("librosa.onset.onset_detect", lambda *_, **__: None)
    compat.compiled_librosa.__wrapped__()
    assert waited == [cache / "dramaeval.lock", "compiled"]


COMPILED = """
import numba
@numba.njit(cache=True)
def {}(y, {}):
    return y.sum()
"""


def test_processes_that_start_with_an_empty_cache_compile_once(tmp_path):
    """A small package replaces librosa, which takes half a minute to compile."""
    package = tmp_path / "librosa"
    package.mkdir()
    pyin = COMPILED.format("pyin", "fmin=0, fmax=0, sr=0, resolution=0.0")
    (package / "__init__.py").write_text(pyin)
    (package / "feature.py").touch()
    (package / "onset.py").write_text(COMPILED.format("onset_detect", "sr=0"))
    count = (
        "from dramaeval.compat.librosa import compiled_librosa\n"
        "librosa = compiled_librosa()\n"
        "functions = (librosa.pyin, librosa.onset.onset_detect)\n"
        "print(*(sum(each.stats.cache_hits.values()) for each in functions))\n"
    )
    paths = [str(tmp_path), str(ROOT)]
    environment = os.environ | {
        "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(paths)
    }  # fmt: skip
    # One process compiles; the other waits and loads the compiled functions.
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", count], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    answers = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(answers) == ["0 0\n", "1 1\n"]


def test_a_temporary_folder_replaces_a_cache_folder_that_cannot_be_created(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = compat._cache_folder()
    assert folder.is_dir()
    assert not folder.is_relative_to(tmp_path)
    folder.rmdir()
