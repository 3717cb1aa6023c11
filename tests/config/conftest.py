"""A fixture that composes a configuration as the command line does."""

from collections.abc import Callable

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from repository import ROOT

from dramaeval.config import registration


@pytest.fixture(scope="session")
def words_of() -> Callable[..., DictConfig]:
    """A function that composes as the command line does, with the overrides of the user in ``hydra``."""
    registration.register()

    def build(*words: str) -> DictConfig:
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            return compose("launch", overrides=list(words), return_hydra_config=True)

    return build
