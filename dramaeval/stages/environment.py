"""Describes the environment of a run (versions, commit, hardware, seed)."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dramaeval import startup
from dramaeval.config.secrets import masked

_PACKAGES = (
    "dramaeval", "torch", "transformers", "peft", "trl", "accelerate", "deepspeed", "datasets", "hydra-core",
    "omegaconf", "librosa", "soundfile", "av", "soxr", "numpy", "scipy", "scikit-learn", "bitsandbytes",
)  # fmt: skip


def describe(seed: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """The content of environment.json: everything besides the settings that can change a result."""
    return {
        "versions": {name: _version(name) for name in _PACKAGES},
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "commit": _commit(),
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cuda": torch.version.cuda,
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "seed": seed,
        **masked(startup.record()),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout, with ``+changes`` if files differ from it; None outside a git checkout.

    An installed package may lie in the repository of another project, whose commit says nothing about the package.
    """
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(root), *arguments]
        try:
            output = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return output.stdout.strip()

    if git("rev-parse", "--show-toplevel") != str(root):
        return None
    commit = git("rev-parse", "HEAD")
    return f"{commit}+changes" if commit and git("status", "--porcelain") else commit
