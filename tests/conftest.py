"""What every test has: composed configurations, a few annotated clips, and no network."""

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

# Four tests run at a time on few cores: with several threads each, they would wait for each other. PyTorch, which
# no import above loads, and every process that a test starts read this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

#: What takes longest, by file or by file::test; first what mostly waits. Whoever is free takes tests from the
#: end of the others' queues, so that the short ones are left for the end of a session.
LONG = (
    "launch/test_slurm.py",
    "distributed/test_two_processes.py",
    "distributed/test_grpo_processes.py",
    "whole_runs/test_processes.py",
    "launch/sweeps/test_local_sweep.py",
    "launch/sweeps/test_search.py::test_a_search_from_its_first_run_to_its_last",
    "whole_runs/test_run.py",
    "whole_runs/test_evidence.py",
    "training/test_peft.py",
    "recipes/test_tiny_judge.py",
    "stages/test_debug.py",
    "launch/sweeps/test_search.py",
    "whole_runs/",
)

_folder = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """One thread a process: four tests run at a time, and runs start processes of their own."""
    os.environ["OMP_NUM_THREADS"] = "1"
    # Nothing here compiles a model, but bitsandbytes wraps its CPU functions in torch.compile where it is
    # imported. That loads the compiler, about a second of every start.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    # Kept features are those of this session, and so is the key that sweeps are signed with. Workers and the runs
    # that tests start have the folders of the process that pytest was started as.
    if not hasattr(config, "workerinput"):
        folder = config.stash[_folder] = Path(tempfile.mkdtemp(prefix="dramaeval-tests-"))
        os.environ.setdefault("DRAMAEVAL_CACHE", str(folder / "cache"))
        os.environ["XDG_CONFIG_HOME"] = str(folder / "config")
    composition_cache.install()
    # A shell's background job ignores Ctrl-C, and so would every program that a test starts and interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The folders of the session go with it."""
    if _folder in config.stash:
        shutil.rmtree(config.stash[_folder], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first, as `LONG` has them; all others as they were. Tests with costly fixtures are marked.

    The fork server, with which whole commands run, imports every library again in each of pytest's workers.
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


_frozen_modules = 0


def pytest_runtest_teardown() -> None:
    """Full garbage collections skip the modules that are imported so far; a training runs several."""
    global _frozen_modules
    if len(sys.modules) > _frozen_modules + 300:
        _frozen_modules = len(sys.modules)
        gc.collect()
        gc.freeze()


_connect = socket.socket.connect


def _only_here(self: socket.socket, address: Any) -> None:
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a test tried to reach {address}")
    _connect(self, address)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _only_here)


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
