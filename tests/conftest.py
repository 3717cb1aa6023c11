"""What every test has: composed configurations, a few annotated clips, and no network."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from places import ROOT

from dramaeval.config import schema

FIELDS = (
    "pitch_variation",
    "rhythmic_naturalness",
    "stress_and_emphasis",
    "emotion_accuracy",
    "emotion_intensity_control",
    "dynamic_range",
    "voice_identity_matching",
    "trait_embodiment",
    "local_story_fit",
    "global_story_coherence",
)


def pytest_configure(config: pytest.Config) -> None:
    """One thread a process: two tests run at a time, and runs start processes of their own."""
    os.environ["OMP_NUM_THREADS"] = "1"


_connect = socket.socket.connect


def _only_here(self: socket.socket, address: Any) -> None:
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a test tried to reach {address}")
    _connect(self, address)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", _only_here)


@pytest.fixture
def composed() -> Callable[..., DictConfig]:
    """Compose the configuration as launch.py does: composed("peft=none", "seed=3")."""
    schema.register()

    def build(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            return compose("launch", overrides=list(overrides))

    return build


@pytest.fixture
def make_clips(tmp_path: Path) -> Callable[..., Path]:
    """Write a JSONL of realism records whose loudness goes with their ratings."""

    def make(name: str, count: int, *, seconds: Sequence[float] = (), seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        lines = []
        for number in range(count):
            length = seconds[number % len(seconds)] if seconds else rng.uniform(0.5, 2.0)
            loudness = rng.uniform(0.01, 0.3)
            wave = rng.standard_normal(round(16_000 * length)) * loudness
            soundfile.write(tmp_path / f"{name}{number}.wav", wave.clip(-1, 1), 16_000)
            level = 1 + 4 * loudness / 0.3
            ratings = {
                field: [int(np.clip(round(level + rng.normal()), 1, 5)) for _ in range(6)]
                for field in FIELDS
            }
            lines.append(
                {
                    "id": f"{name}-{number}",
                    "local_scene": f"Evening {name} {number}: the crew waits for news.",
                    "char_age": "Adult",
                    "char_style": "Calm, Dry",
                    "char_profile": f"Number {number} of the {name} crew.",
                    "transcript": f"That makes {number}.",
                    "wav_path": f"{name}{number}.wav",
                    "character": f"{name} character {number // 2}",
                    "annotations": ratings,
                }
            )
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return file

    return make
