"""Controls: baselines that lack a part of the judge's input, and changes of the input that should not matter.

A judge that uses the sound agrees better with people than every control without it.

The names are `dramaeval.config.schema.CONTROLS`. The control NAME is the function NAME in the module NAME of this
package. The module also has the attributes of `Control` as constants: ``DESCRIPTION`` and, optionally,
``REMOVES_SOUND``, ``FURTHER_RESULTS`` and ``SETTINGS``.
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
            raises `NotPossibleError` if the control cannot be computed.
        description: a phrase for reports.
        removes_sound: whether the control differs from the judge only in lacking the right sound.
        further_results: key of the further results in ``metrics.json``: "spread", "changes" or, without such results,
            None. A control with further results measures how much scores change; a gain over it says nothing about
            the use of audio.
        settings: the settings in ``evaluation`` on which its predictions depend.
    """

    predict: Callable[..., Any]
    description: str
    removes_sound: bool
    further_results: str | None
    settings: tuple[str, ...]


def control_named(name: str) -> Control:
    """Import a control by its name."""
    module = import_module(f"{__name__}.{name}")
    return Control(
        getattr(module, name),
        module.DESCRIPTION,
        getattr(module, "REMOVES_SOUND", False),
        getattr(module, "FURTHER_RESULTS", None),
        getattr(module, "SETTINGS", ()),
    )
