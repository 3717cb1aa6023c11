"""SLURM's variables are translated to those of PyTorch."""

import pytest

from dramaeval.config.problems import ConfigError
from dramaeval.distributed.slurm_rendezvous import variables

TASK = {
    "SLURM_JOB_ID": "17005", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1", "SLURM_JOB_NODELIST": "nowhere-[3,7]", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.3",
}  # fmt: skip


def test_the_variables_of_a_task_give_its_rank_and_address():
    assert variables(TASK) == {
        "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "10.0.0.3", "MASTER_PORT": "15005",
    }  # fmt: skip


def test_all_tasks_of_a_job_have_one_address_and_jobs_have_different_ports():
    other = {**TASK, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        assert variables(other)[name] == variables(TASK)[name]
    assert variables({**TASK, "SLURM_JOB_ID": "17006"})["MASTER_PORT"] == "15006"


def test_a_node_name_that_can_be_resolved_is_the_address():
    assert variables({**TASK, "SLURM_JOB_NODELIST": "localhost"})["MASTER_ADDR"] == "localhost"


def test_an_address_and_port_given_by_the_user_are_kept():
    given = {**TASK, "MASTER_ADDR": "ib0.node3", "MASTER_PORT": "29500"}
    assert (variables(given)["MASTER_ADDR"], variables(given)["MASTER_PORT"]) == (
        "ib0.node3",
        "29500",
    )


def test_the_local_rank_follows_from_the_visible_gpus():
    assert variables({**TASK, "CUDA_VISIBLE_DEVICES": "0,1"})["LOCAL_RANK"] == "1"
    # The task sees only its own GPU, which has the number 0.
    assert variables({**TASK, "CUDA_VISIBLE_DEVICES": "1"})["LOCAL_RANK"] == "0"
    six = {**TASK, "SLURM_NTASKS": "6", "SLURM_NTASKS_PER_NODE": "3", "CUDA_VISIBLE_DEVICES": "0,1"}
    with pytest.raises(ConfigError, match="3 processes of the run share 2 GPUs"):
        variables(six)
