"""Users without a home folder or an entry in the user database get a temporary home; others keep their home."""

import getpass
import os
import pwd
import stat
import tempfile
from pathlib import Path

import pytest

from dramaeval.launch import job, worker
from dramaeval.startup import ensure_home

NAMES = ("USER", "LOGNAME", "LNAME", "USERNAME")
OTHERS = ("DRAMAEVAL_CACHE", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "MPLCONFIGDIR")


@pytest.fixture
def nobody(tmp_path, monkeypatch):
    """The temporary home of a user without HOME, user name and entry in the user database."""

    def no_entry(key):
        raise KeyError(key)

    # setenv first, so that monkeypatch restores the variables that `ensure_home` sets.
    for name in ("HOME", *NAMES, *OTHERS):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"dramaeval-{os.geteuid()}"


def test_an_unknown_user_gets_a_private_temporary_home(nobody, capsys):
    ensure_home()
    assert Path.home() == Path("~").expanduser() == nobody
    assert stat.S_IMODE(nobody.stat().st_mode) == 0o700
    assert getpass.getuser() == f"uid-{os.geteuid()}"
    assert os.environ["DRAMAEVAL_CACHE"] == ""
    assert f"no home folder: {nobody} is used instead" in capsys.readouterr().err
    ensure_home()  # in a process that this one starts
    assert Path.home() == nobody
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("place", ["/nonexistent/home", "relative", "", "/proc/version"])
def test_a_home_that_is_no_folder_is_replaced(nobody, monkeypatch, place):
    monkeypatch.setenv("HOME", place)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # an empty HOME stands for /
    ensure_home()
    assert os.environ["HOME"] == str(nobody)


def test_a_given_cache_folder_is_kept(nobody, monkeypatch):
    monkeypatch.setenv("DRAMAEVAL_CACHE", "/scratch/features")
    ensure_home()
    assert os.environ["DRAMAEVAL_CACHE"] == "/scratch/features"


def test_a_user_with_a_home_keeps_it(nobody, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "mara")
    before = dict(os.environ)
    ensure_home()
    assert dict(os.environ) == before
    assert capsys.readouterr().err == ""
    assert not nobody.exists()


def test_a_home_that_cannot_be_written_is_kept_but_caches_are_moved(nobody, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/sys/kernel")
    monkeypatch.setenv("WANDB_CACHE_DIR", "/scratch/wandb")
    monkeypatch.setattr(
        os, "access", lambda path, mode: not path.startswith("/sys")
    )  # root could write there
    ensure_home()
    assert os.environ["HOME"] == "/sys/kernel"
    assert os.environ["WANDB_CACHE_DIR"] == "/scratch/wandb"
    assert os.environ["MPLCONFIGDIR"] == str(nobody / "matplotlib")


@pytest.mark.parametrize("obstacle", ["file", "link", "open", "another's"])
def test_a_temporary_home_that_others_could_have_prepared_is_not_used(
    nobody, monkeypatch, obstacle
):
    trap = nobody.parent / "trap"
    trap.mkdir()
    if obstacle == "file":
        nobody.write_text("")
    elif obstacle == "link":
        nobody.symlink_to(trap)
    else:
        nobody.mkdir()
        nobody.chmod(0o777 if obstacle == "open" else 0o700)
    if obstacle == "another's":
        mine = nobody.stat().st_uid
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
        nobody.rename(nobody.with_name(f"dramaeval-{mine + 1}"))
    ensure_home()
    given = Path(os.environ["HOME"])
    assert given.parent == nobody.parent
    assert given.name not in {nobody.name, f"dramaeval-{os.geteuid()}", "trap"}
    assert stat.S_IMODE(given.stat().st_mode) == 0o700
    assert not list(trap.iterdir())


class EnsureHomeCalledError(Exception):
    """Raised by `ensure_home` in the test, so that no further work is done."""


@pytest.mark.parametrize(
    ("module", "start"),
    [
        (worker, lambda: worker.main("", "")),
        (job, lambda: job.main("")),
        (job, job.SlurmRun("", [])),
    ],
)
def test_processes_on_other_machines_call_ensure_home_first(monkeypatch, module, start):
    def ask():
        raise EnsureHomeCalledError

    monkeypatch.setattr(module, "ensure_home", ask)
    with pytest.raises(EnsureHomeCalledError):
        start()
