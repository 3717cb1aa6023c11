"""Controls: baselines that lack a part of the judge's input, and changes of the input that should not matter.

A judge that uses the sound agrees better with people than every control without it.

One module a control. The names are `dramaeval.config.schema.CONTROLS`; the control NAME is the function NAME in the
module NAME of this package, which also has

- ``DESCRIPTION``: a description of the control, for reports;
- ``REMOVES_SOUND`` (optional): True where the control differs from the judge only in lacking the right sound;
- ``FURTHER_RESULTS`` (optional): key in ``metrics.json`` of what the control measures besides its predictions.
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
        further_results: key in ``metrics.json`` of what the control measures besides its predictions.
    """

    predict: Callable[..., Any]
    description: str
    removes_sound: bool
    further_results: str


def control_named(name: str) -> Control:
    """The control of that name."""
    module = import_module(f"{__name__}.{name}")
    return Control(
        getattr(module, name),
        module.DESCRIPTION,
        getattr(module, "REMOVES_SOUND", False),
        getattr(module, "FURTHER_RESULTS", "spread"),
    )
