"""The content of environment.json."""

import subprocess

import pytest

from dramaeval.stages import environment


@pytest.fixture
def repository(tmp_path):
    """A git repository with one commit, and its commit."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "One."]):
        subprocess.run([*git, *words], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return tmp_path, done.stdout.strip()


@pytest.mark.parametrize(("place", "is_own"), [("", True), ("env/lib/site-packages", False)])
def test_the_commit_is_that_of_the_package_and_not_of_a_repository_around_it(
    repository, monkeypatch, place, is_own
):
    root, commit = repository
    file = root / place / "dramaeval" / "stages" / "environment.py"
    file.parent.mkdir(parents=True)
    monkeypatch.setattr(environment, "__file__", str(file))
    assert environment._commit() == (commit if is_own else None)
