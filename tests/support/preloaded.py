"""Imported last by the fork server, for all processes that it forks.

They find the configuration composed, and their full collections skip what was imported before.
"""

import gc
import os
from pathlib import Path

import composition_cache
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from repository import ROOT

from dramaeval.config import registration

composition_cache.install()
registration.register()
with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
    compose("launch")
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    hydra.get_mode("launch", [])  # as the command line does first, with a defaults list of its own

# Runs, and what they start, do not find the modules of the tests.
_here = str(Path(__file__).parent)
os.environ["PYTHONPATH"] = os.pathsep.join(
    path for path in os.environ["PYTHONPATH"].split(os.pathsep) if path != _here
)

gc.collect()
gc.freeze()
