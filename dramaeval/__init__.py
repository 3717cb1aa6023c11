"""Fine-tunes audio language models as judges of acted speech, and measures their agreement with people.

The names in ``__all__`` are the Python API. Each imports its libraries at its first use, so that
``import dramaeval`` stays fast.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dramaeval import startup

if TYPE_CHECKING:
    from dramaeval.api.dataset import AudioDataset
    from dramaeval.api.grpo_trainer import GRPOTrainer
    from dramaeval.api.judge import Judge
    from dramaeval.api.peft_config import create_peft_config
    from dramaeval.api.run import RunResult, run
    from dramaeval.api.sft_trainer import SFTTrainer

__all__ = [
    "AudioDataset",
    "GRPOTrainer",
    "Judge",
    "RunResult",
    "SFTTrainer",
    "create_peft_config",
    "run",
]

__version__: str

startup.silence()

_MODULES = {
    "AudioDataset": "dramaeval.api.dataset",
    "GRPOTrainer": "dramaeval.api.grpo_trainer",
    "Judge": "dramaeval.api.judge",
    "RunResult": "dramaeval.api.run",
    "SFTTrainer": "dramaeval.api.sft_trainer",
    "create_peft_config": "dramaeval.api.peft_config",
    "run": "dramaeval.api.run",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from dramaeval.version import package_version

        return package_version()
    if name not in _MODULES:
        raise AttributeError(f"module 'dramaeval' has no attribute {name!r}; it has {__all__}")
    for line in startup.prepare():
        logging.getLogger(__name__).warning("%s", line)
    startup.prepare_device()
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
