"""Loads data sets of the Hugging Face hub, which are named ``hf:OWNER/NAME`` in place of a file or folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dramaeval.data.import_formats import HUB, HUB_FORM
from dramaeval.importing.problems import BadSourceError, in_file

_NAME = re.compile(
    rf"{HUB}(?P<path>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?(?::(?P<name>[\w.-]+))?"
)


def load_hub(name: Path) -> Any:
    """Load a data set with ``datasets.load_dataset``: a ``DatasetDict`` of its splits.

    Args:
        name: ``hf:OWNER/NAME``, optionally with ``@REVISION`` (a branch, a tag or a commit) and ``:SUBSET``.

    Raises:
        BadSourceError: the name has another form, the data set does not exist, or the hub cannot be reached.
    """
    import datasets

    parts = _NAME.fullmatch(str(name))
    if parts is None:
        raise BadSourceError([in_file(name, "not a name of the hub", f"write {HUB_FORM}")])
    try:
        return datasets.load_dataset(**parts.groupdict())
    except datasets.exceptions.DatasetNotFoundError as error:
        fix = "check the name and the revision; for a private data set log in with `hf auth login`"
        raise BadSourceError([in_file(name, _short(error), fix)]) from None
    except ConnectionError as error:
        fix = (
            "connect this machine, or load the data set on one that is connected and copy its cache (HF_HOME), or "
            "save it there with save_to_disk and give the folder"
        )
        raise BadSourceError([in_file(name, _short(error), fix)]) from None
    except (OSError, ValueError, RuntimeError) as error:
        fix = f"check the name, the revision and the subset: {HUB_FORM}"
        raise BadSourceError([in_file(name, _short(error), fix)]) from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__
