"""Controls: baselines without the clip's sound, or with its prosody alone.

A judge that uses the sound agrees better with people than every control.

One module a control. The names are `dramaeval.config.schema.CONTROLS`; the control NAME is the function NAME in the
module NAME of this package, which also has

- ``DESCRIPTION``: a description of the control, for reports;
- ``REMOVES_SOUND`` (optional): True where the control differs from the judge only in lacking the right sound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Control:
    """One control.

    Attributes:
        predict: takes a `ControlContext` and returns predictions, alone or with a dictionary of further results;
            raises `NotPossibleError` where the control cannot be computed.
        description: for reports.
        removes_sound: whether it differs from the judge only in lacking the right sound.
    """

    predict: Callable[..., Any]
    description: str
    removes_sound: bool


def control_named(name: str) -> Control:
    """The control of that name."""
    module = import_module(f"{__name__}.{name}")
    return Control(
        getattr(module, name), module.DESCRIPTION, getattr(module, "REMOVES_SOUND", False)
    )
