"""All audio families as small random models."""

from importlib.util import find_spec

import pytest
from audio_kinds import (
    Flamingo,
    Glm,
    Granite,
    GranitePlus,
    Mistrals,
    Music,
    Omni,
    Omni3,
)
from gemma_kinds import Gemma3n, Gemma4, Gemma4Unified
from phi_kinds import Phi4

KINDS = [
    Omni,
    Omni3,
    Flamingo,
    Music,
    Glm,
    Granite,
    GranitePlus,
    Gemma3n,
    Gemma4,
    Gemma4Unified,
    Phi4,
    pytest.param(
        Mistrals,
        marks=pytest.mark.skipif(
            find_spec("mistral_common") is None, reason="pip install 'dramaeval[voxtral]'"
        ),
    ),
]
#: Those that take a clip above 30 s; a kind that is skipped where a package is missing has no such clip.
LONG_KINDS = [kind for kind in KINDS if getattr(kind, "long_windows", None)]
