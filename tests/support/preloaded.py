"""The last module that the fork server imports; it prepares all processes that the server forks.

They inherit the composed configuration, and their garbage collections skip the objects that exist so far.
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
    hydra.get_mode("launch", [])  # the command line does this first, with another defaults list

# Runs and their child processes must not find the modules of the tests.
_here = str(Path(__file__).parent)
os.environ["PYTHONPATH"] = os.pathsep.join(
    path for path in os.environ["PYTHONPATH"].split(os.pathsep) if path != _here
)

gc.collect()
gc.freeze()
