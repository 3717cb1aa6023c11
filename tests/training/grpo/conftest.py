import os

import pytest
from clips import write_clips
from filelock import FileLock
from grpo_trainers import QUICK
from plain_judge import plain_judge
from trained_adapter import teach

from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.planner import make_plan
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    train = write_clips(folder, "train", 8, seconds=(0.3, 1.7, 1.0, 2.9))
    return [f"task.data.train={train}", f"task.data.val={write_clips(folder, 'val', 4, seed=1)}"]


@pytest.fixture
def config_of(composed, files):
    return lambda *overrides: composed(*QUICK, *files, *overrides)


@pytest.fixture(scope="session")
def trained_adapter(files, tmp_path_factory):
    """``checkpoint=…`` of an adapter, which the first process that needs it trains for the whole session."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, finished = shared / "taught", shared / "taught.path"
    with FileLock(shared / "taught.lock"):
        if not finished.is_file():
            finished.write_text(str(teach(folder, files)), encoding="utf-8")
    return f"checkpoint={finished.read_text(encoding='utf-8')}"


@pytest.fixture
def trainer_of(config_of, tmp_path):
    def build(*overrides):
        config = config_of(*overrides)
        check(config)
        run = RunContext(config, RunFolder(tmp_path / "run"))
        make_plan(run)
        return make_trainer(run)

    return build


@pytest.fixture(scope="module")
def plain():
    return plain_judge()
