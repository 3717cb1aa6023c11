"""Compositions, as the command line composes them."""

from collections.abc import Callable

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from repository import ROOT

from dramaeval.config import registration


@pytest.fixture(scope="session")
def words_of() -> Callable[..., DictConfig]:
    """Compose as the command line does, with the user's words in Hydra's node."""
    registration.register()

    def build(*words: str) -> DictConfig:
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            return compose("launch", overrides=list(words), return_hydra_config=True)

    return build
