"""A home folder and a user name for processes whose user has none, as in containers that run under any number.

Libraries look for settings below ``~`` and ask who the user is: some fail without an answer (wandb, torch's
compiler), some make a folder called ``~`` in the working folder (huggingface_hub).
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
import tempfile
from pathlib import Path

#: Where libraries write below the home folder whatever happens, by the variable that names another place.
_WRITTEN = {"WANDB_DATA_DIR": "wandb", "WANDB_CACHE_DIR": "wandb", "MPLCONFIGDIR": "matplotlib"}


def ensure_home() -> None:
    """Set HOME, USER and DRAMAEVAL_CACHE of this process and its children where the system knows none.

    The stand-in for the home folder lies among temporary files, which may be held in memory, so no features of
    clips are kept below it. A home folder that is there stays; if it cannot be written, libraries that write
    below it whatever happens get another folder.
    """
    if not _has_home():
        os.environ["HOME"] = str(_private_folder())
        os.environ.setdefault("DRAMAEVAL_CACHE", "")
        print(
            f"This user has no home folder: {os.environ['HOME']} stands in for it. Features of clips are not "
            "kept on disk unless DRAMAEVAL_CACHE or cache.folder names a folder.",
            file=sys.stderr,
        )
    elif not os.access(os.path.expanduser("~"), os.W_OK):
        for variable, name in _WRITTEN.items():
            os.environ.setdefault(variable, str(_private_folder() / name))
    try:
        getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        os.environ["USER"] = f"uid-{os.geteuid()}"


def _has_home() -> bool:
    """Whether there is a home folder; Docker's ``--user`` gives ``/`` to users that it does not know."""
    home = os.path.expanduser("~")
    if not os.path.isabs(home) or not os.path.isdir(home):
        return False
    return home != "/" or os.access(home, os.W_OK)


def _private_folder() -> Path:
    """The same folder for every process of this user, which nobody else can write or has made before."""
    folder = Path(tempfile.gettempdir()) / f"dramaeval-{os.geteuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="dramaeval-"))
    own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if own and not status.st_mode & 0o022:
        return folder
    return Path(tempfile.mkdtemp(prefix="dramaeval-"))
