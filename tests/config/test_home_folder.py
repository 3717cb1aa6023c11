"""Paths that begin with ``~``: of this account, of another one, and of one that does not exist."""

import os
import pwd
from pathlib import Path

import pytest
from repository import ROOT

from dramaeval.api.judge import Judge
from dramaeval.config.earlier_run import _read
from dramaeval.config.home_folder import expand_home
from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.config.problems import ConfigError
from dramaeval.config.weights import model_identity, weights_folder
from dramaeval.data.unicode_paths import stored_path
from dramaeval.importing.readers import source_path
from dramaeval.models.checkpoint import find_checkpoint
from dramaeval.models.errors import ModelError

ABSENT = "~no-account/x"


def test_the_home_folder_is_put_in_place_of_the_name_of_its_account(monkeypatch):
    monkeypatch.setenv("HOME", "/home/mine")
    account = pwd.getpwuid(os.getuid())
    assert expand_home("~/x") == Path("/home/mine/x")
    assert expand_home(f"~{account.pw_name}/x") == Path(account.pw_dir) / "x"
    for path in (ABSENT, "x/~/y", "x", "/x"):
        assert expand_home(path) == expand_home(Path(path)) == Path(path)


def test_a_path_below_the_home_folder_of_no_account_is_a_file_that_does_not_exist():
    assert weights_folder(ABSENT) is None
    assert model_identity(ABSENT) == ABSENT
    assert stored_path(ABSENT) == Path(ABSENT)
    assert source_path(ImporterConfig(file=ABSENT)) == Path(ABSENT)


@pytest.mark.parametrize(
    ("read", "error", "message"),
    [
        (find_checkpoint, ModelError, f"checkpoint={ABSENT} does not exist"),
        (lambda path: _read(expand_home(path)), ConfigError, f"from={ABSENT} holds no run"),
        (Judge.load, ModelError, f"model.path={ABSENT} is not a folder"),
    ],
)
def test_the_message_is_that_of_a_file_that_does_not_exist(read, error, message):
    with pytest.raises(error, match=message):
        read(ABSENT)


def test_no_module_expands_paths_by_itself():
    """`Path.expanduser` raises RuntimeError, which no caller expects."""
    package = ROOT / "dramaeval"
    assert [
        str(file) for file in package.rglob("*.py") if ").expanduser()" in file.read_text("utf-8")
    ] == []
