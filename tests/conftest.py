"""Fixtures of all tests: composed configurations, a few annotated clips, and no network."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import composition_cache
import pytest
from clips import write_clips
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from repository import ROOT

from dramaeval.config import registration

pytest_plugins = ("launch_fixtures",)

# Several tests run at a time on few cores. If each used several threads, the threads would wait for each other.
# PyTorch reads this variable when it is imported (no import above loads it), and so does every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

#: The tests that take longest, by file or by file::test; those that mostly wait come first. A worker without tests
#: takes some from the end of another worker's queue, so the short tests have to be at the end.
LONG = (
    "launch/test_slurm.py",
    "distributed/test_two_processes.py",
    "distributed/test_grpo_processes.py",
    "whole_runs/test_processes.py",
    "launch/sweeps/test_local_sweep.py",
    "launch/sweeps/test_search.py::test_a_search_records_a_finished_a_pruned_and_a_failed_run_and_is_resumed",
    "whole_runs/test_run.py",
    "whole_runs/test_evidence.py",
    "training/test_peft.py",
    "recipes/test_tiny_judge.py",
    "launch/sweeps/test_search.py",
    "whole_runs/",
)

_folder = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Set one thread per process, the cache folder of this session and the handler of Ctrl-C."""
    os.environ["OMP_NUM_THREADS"] = "1"
    # No test compiles a model, but importing bitsandbytes calls torch.compile. That loads the compiler, which takes
    # about a second in every new process.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    # The cache of audio features and the key that signs sweeps are new in each session. Workers and the runs that
    # tests start inherit these folders from the process that was started as pytest.
    if not hasattr(config, "workerinput"):
        folder = config.stash[_folder] = Path(tempfile.mkdtemp(prefix="dramaeval-tests-"))
        os.environ.setdefault("DRAMAEVAL_CACHE", str(folder / "cache"))
        os.environ["XDG_CONFIG_HOME"] = str(folder / "config")
        os.environ[composition_cache.FOLDER] = tempfile.mkdtemp(dir=folder)
    composition_cache.install()
    # Compiling the test modules and the package would take two seconds in each worker, and one in each program.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # The imports of the test modules create a million objects; see `pytest_collection_finish`.
    gc.disable()
    # A background job of a shell ignores Ctrl-C. The programs that tests start and interrupt would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return three workers; without the slow tests, which sometimes wait, one for each of up to four cores.

    Each worker imports all libraries, about ten seconds of processor time, and so does its fork server. On two cores the
    whole suite takes 13:14 minutes with four workers and 14:29 with five.
    """
    cores = len(os.sched_getaffinity(0))
    return min(cores, 4) if "not slow" in config.option.markexpr else 3


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the folders of this session."""
    if _folder in config.stash:
        shutil.rmtree(config.stash[_folder], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of `LONG` first, in that order, and mark the tests that use a costly fixture.

    Tests of the fork server, which runs whole commands, are slow: it imports all libraries once in each worker.
    """
    root = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(root).as_posix() + "::" + item.name
        return next((at for at, long in enumerate(LONG) if name.startswith(long)), len(LONG))

    items.sort(key=place)
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
        if "forkserver" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Collect garbage from now on, and skip the objects of the modules that were imported without collections.

    With Python's own limits, the collections of the tests of a training take a twentieth of their time.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


_frozen_modules = 0


def pytest_runtest_teardown() -> None:
    """Exclude the modules imported so far from garbage collection, which each training runs several times."""
    global _frozen_modules
    if len(sys.modules) > _frozen_modules + 300:
        _frozen_modules = len(sys.modules)
        gc.collect()
        gc.freeze()


_connect = socket.socket.connect


def _connect_to_this_machine(self: socket.socket, address: Any) -> None:
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a test tried to reach {address}")
    _connect(self, address)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _connect_to_this_machine)


@pytest.fixture
def composed() -> Callable[..., DictConfig]:
    """Compose the configuration as launch.py does: composed("peft=none", "seed=3")."""
    registration.register()

    def build(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            return compose("launch", overrides=list(overrides))

    return build


@pytest.fixture(scope="session")
def small_judge(tmp_path_factory: pytest.TempPathFactory) -> str:
    """``model.path=…`` of a small random judge; see `small_judge.write_small_judge`."""
    from small_judge import write_small_judge

    return f"model.path={write_small_judge(tmp_path_factory.mktemp('judge'))}"


@pytest.fixture
def problems_of(composed: Callable[..., DictConfig]) -> Callable[..., list[str]]:
    """The problems of the configuration with these overrides: problems_of("seed=-1")."""
    from dramaeval.config.problems import ConfigError
    from dramaeval.stages.checks import check

    def find(*overrides: str) -> list[str]:
        try:
            check(composed(*overrides))
        except ConfigError as error:
            return list(error.problems)
        return []

    return find


@pytest.fixture
def make_clips(tmp_path: Path) -> Callable[..., Path]:
    """Write a JSONL of realism records whose loudness increases with their ratings; see `clips.write_clips`."""
    return partial(write_clips, tmp_path)
