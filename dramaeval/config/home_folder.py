"""A home folder and a user name for processes whose user has none, as in a container with an unknown user id.

Libraries read settings below ``~`` and the user's name. If these are missing, some libraries fail (wandb, torch's
compiler), and some create a folder called ``~`` in the working folder (huggingface_hub).
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
import tempfile
from pathlib import Path

#: Variables that move what a library writes out of the home folder, each with a name for the other folder.
_MOVED = {"WANDB_DATA_DIR": "wandb", "WANDB_CACHE_DIR": "wandb", "MPLCONFIGDIR": "matplotlib"}


def ensure_home() -> None:
    """Set HOME, USER and DRAMAEVAL_CACHE of this process and its children if the system does not provide them.

    A temporary folder replaces a missing home folder. It may be in memory, so features of clips are not stored
    there. An existing home folder is kept; if it is not writable, libraries that write below it get another folder.
    """
    if not _has_home():
        os.environ["HOME"] = str(_private_folder())
        os.environ.setdefault("DRAMAEVAL_CACHE", "")
        print(
            f"This user has no home folder: {os.environ['HOME']} is used instead. Features of clips are not "
            "kept on disk unless DRAMAEVAL_CACHE or cache.folder names a folder.",
            file=sys.stderr,
        )
    elif not os.access(os.path.expanduser("~"), os.W_OK):
        for variable, name in _MOVED.items():
            os.environ.setdefault(variable, str(_private_folder() / name))
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        os.environ["USER"] = f"uid-{os.geteuid()}"


def _has_home() -> bool:
    """Whether the user has a home folder; Docker's ``--user`` sets ``/`` for users that it does not know."""
    home = os.path.expanduser("~")
    if not os.path.isabs(home) or not os.path.isdir(home):
        return False
    return home != "/" or os.access(home, os.W_OK)


def _private_folder() -> Path:
    """A temporary folder that all processes of this user share, and that no other user created or can write."""
    folder = Path(tempfile.gettempdir()) / f"dramaeval-{os.geteuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="dramaeval-"))
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if is_ours and not status.st_mode & 0o022:
        return folder
    return Path(tempfile.mkdtemp(prefix="dramaeval-"))
