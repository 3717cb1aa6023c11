"""Runs launch.py up to the start of the first training step.

    python -m benchmarks.first_step KEY=VALUE …

The trainer is patched when it is imported, so that the order of all imports is that of a run.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import runpy
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODULE = "transformers.trainer"


class _Stops(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def executed(module: Any) -> None:
            execute(module)
            module.Trainer.training_step = lambda *_, **__: os._exit(0)

        spec.loader.exec_module = executed  # type: ignore[method-assign]  # only this method of the loader is replaced
        return spec


if __name__ == "__main__":
    sys.meta_path.insert(0, _Stops())
    sys.argv = ["launch.py", *sys.argv[1:]]
    runpy.run_path(str(ROOT / "launch.py"), run_name="__main__")
    sys.exit("no training step was reached")
