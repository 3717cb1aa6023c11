"""SLURM's variables as PyTorch's."""

import pytest

from dramaeval.config.problems import ConfigError
from dramaeval.distributed.slurm_rendezvous import variables

TASK = {
    "SLURM_JOB_ID": "17005", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1", "SLURM_JOB_NODELIST": "nowhere-[3,7]", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.3",
}  # fmt: skip


def test_a_task_is_a_rank():
    assert variables(TASK) == {
        "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "10.0.0.3", "MASTER_PORT": "15005",
    }  # fmt: skip


def test_all_tasks_meet_at_one_place_and_jobs_at_different_ones():
    other = {**TASK, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        assert variables(other)[name] == variables(TASK)[name]
    assert variables({**TASK, "SLURM_JOB_ID": "17006"})["MASTER_PORT"] == "15006"


def test_a_name_that_is_known_is_used():
    assert variables({**TASK, "SLURM_JOB_NODELIST": "localhost"})["MASTER_ADDR"] == "localhost"


def test_what_the_user_sets_up_is_kept():
    own = {**TASK, "MASTER_ADDR": "ib0.node3", "MASTER_PORT": "29500"}
    assert (variables(own)["MASTER_ADDR"], variables(own)["MASTER_PORT"]) == ("ib0.node3", "29500")


def test_gpus_per_task():
    assert variables({**TASK, "CUDA_VISIBLE_DEVICES": "0,1"})["LOCAL_RANK"] == "1"
    # Bound to one of its own, which it calls 0.
    assert variables({**TASK, "CUDA_VISIBLE_DEVICES": "1"})["LOCAL_RANK"] == "0"
    six = {**TASK, "SLURM_NTASKS": "6", "SLURM_NTASKS_PER_NODE": "3", "CUDA_VISIBLE_DEVICES": "0,1"}
    with pytest.raises(ConfigError, match="3 processes of the run share 2 GPUs"):
        variables(six)
