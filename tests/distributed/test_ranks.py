"""Ranks of processes: contradicting variables are refused, and a rendezvous reports what it waits for and ends."""

import logging
import os
import pickle
import socket
from datetime import timedelta

import pytest

from dramaeval import startup
from dramaeval.config.problems import ConfigError
from dramaeval.distributed import rank_variables as ranks
from dramaeval.distributed.rank_variables import RendezvousError, Waiting, rank_problems
from dramaeval.launch.worker import follows
from dramaeval.stages.user_errors import user_facing_errors

#: What torchrun sets for the second of two processes.
SECOND = {
    "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500",
}  # fmt: skip


@pytest.fixture
def environment(monkeypatch):
    """A function that sets these variables and removes all other variables of launchers."""

    def set_to(given):
        for name in (*SECOND, "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_PROCID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return set_to


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def immediate_messages(monkeypatch):
    monkeypatch.setattr(ranks, "FIRST_MESSAGE", 0.0)


@pytest.mark.parametrize(
    "given",
    [
        {},
        SECOND,
        {**SECOND, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"},
        {**SECOND, "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"},  # the third machine of four
        {name: SECOND[name] for name in ranks.NEEDED},
        {"MASTER_ADDR": "ib0", "MASTER_PORT": "29500"},  # for a SLURM job, as documented
        {"PMI_RANK": "0", "PMI_SIZE": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4"},
        {**SECOND, "OMPI_COMM_WORLD_SIZE": "2"},
    ],
)
def test_variables_of_launchers_are_accepted(given):
    assert rank_problems(given) == []


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"RANK": "1", "WORLD_SIZE": "1"},
            "LOCAL_RANK and MASTER_ADDR and MASTER_PORT are missing",
        ),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "unset RANK WORLD_SIZE"),
        ({"LOCAL_RANK": "0"}, "RANK and WORLD_SIZE and MASTER_ADDR and MASTER_PORT are missing"),
        ({**SECOND, "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}, "the ranks of 1 process end at 0"),
        ({**SECOND, "RANK": "-1"}, "RANK must be a whole number of 0 or more"),
        ({**SECOND, "WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number of 1 or more"),
        ({**SECOND, "LOCAL_WORLD_SIZE": "4"}, "LOCAL_WORLD_SIZE cannot be above WORLD_SIZE"),
        ({**SECOND, "RANK": "0"}, "LOCAL_RANK does not fit RANK"),
        ({**SECOND, "MASTER_PORT": "70000"}, "1 to 65535"),
        ({**SECOND, "MASTER_ADDR": ""}, "MASTER_ADDR is missing"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "mpirun has started several copies"),
        ({"PMI_SIZE": "4"}, "unset PMI_SIZE"),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, "srun has started 2 copies"),
    ],
)
def test_contradicting_variables_are_refused(given, text, environment, capsys):
    environment(given)
    (problem,) = rank_problems(os.environ)
    assert text in problem
    # The process reports the problem even if the variables say that it is not the first one.
    assert not follows([])
    with pytest.raises(SystemExit) as raised, user_facing_errors():
        startup.prepare()
    assert text in str(raised.value)


def test_ranks_of_unused_launchers_are_removed(environment, monkeypatch):
    environment(SECOND)
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE", "MV2_COMM_WORLD_RANK"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    startup.prepare()
    assert os.environ.items() >= {**SECOND, "TORCHELASTIC_USE_AGENT_STORE": "True"}.items()
    assert (
        not {"OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE", "MV2_COMM_WORLD_RANK"}
        & os.environ.keys()
    )
    # Without ranks, the process would wait for the store of a torchrun that has ended.
    environment({})
    startup.prepare()
    assert "TORCHELASTIC_USE_AGENT_STORE" not in os.environ


def test_an_error_that_rank_zero_sends_to_the_others_keeps_its_message():
    error = ConfigError(["input names no clip.", "texts.scene is missing."])
    sent = pickle.loads(pickle.dumps(error))
    assert (str(sent), sent.problems) == (str(error), error.problems)


def test_the_first_process_names_the_missing_ones_and_stops(
    environment, port, immediate_messages, caplog
):
    environment({**SECOND, "RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": str(port)})
    with caplog.at_level(logging.WARNING), pytest.raises(RendezvousError) as raised:
        ranks.join("gloo", time_limit=0.3)
    place = f"Process 0 of 2 at 127.0.0.1:{port}"
    missing = "1 of 2 processes have arrived, process 1 is missing"
    assert f"{place} waits: {missing}" in caplog.text
    assert str(raised.value).startswith(f"{place} gave up after 0 s: {missing}.")
    assert "\n" not in str(raised.value)


def test_another_process_reports_that_no_process_answers_and_stops(
    environment, port, immediate_messages, caplog
):
    environment({**SECOND, "MASTER_PORT": str(port)})
    with caplog.at_level(logging.WARNING), pytest.raises(RendezvousError) as raised:
        ranks.join("gloo", time_limit=0.3)
    assert f"Process 1 of 2 at 127.0.0.1:{port} waits: no process listens there yet" in caplog.text
    assert "gave up after 0 s: no process listens there yet" in str(raised.value)


def test_an_address_in_use_is_reported_in_one_line(environment):
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        environment({**SECOND, "RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": str(port)})
        with pytest.raises(
            RendezvousError, match=f"Process 0 of 2 at 127.0.0.1:{port}: "
        ) as raised:
            ranks.join("gloo", time_limit=5)
    assert "\n" not in str(raised.value)


def test_two_processes_of_one_rank_are_refused(port):
    import torch.distributed

    store = torch.distributed.TCPStore(
        "127.0.0.1", port, 2, True, timedelta(seconds=5), wait_for_workers=False
    )
    store.add("rank 1", 1)
    with pytest.raises(RendezvousError, match="another process of the same rank is there already"):
        Waiting(1, 2, ("127.0.0.1", port), 5).for_processes(store)


def _join_and_sum(given, answers):
    import torch
    import torch.distributed

    os.environ.update(given)
    ranks.join("gloo", time_limit=60)
    total = torch.tensor([float(given["RANK"]) + 1])
    torch.distributed.all_reduce(total)
    answers.put((int(given["RANK"]), float(total)))
    torch.distributed.destroy_process_group()


def test_processes_that_start_at_different_times_form_a_group(port, forkserver):
    """Process 1 starts before process 0 listens."""
    answers = forkserver.Queue()
    shared = {**SECOND, "MASTER_PORT": str(port)}
    others = [
        forkserver.Process(
            target=_join_and_sum, args=({**shared, "RANK": rank, "LOCAL_RANK": rank}, answers)
        )
        for rank in ("1", "0")
    ]
    others[0].start()
    others[0].join(0.5)
    others[1].start()
    assert sorted(answers.get(timeout=60) for _ in others) == [(0, 3.0), (1, 3.0)]
    for process in others:
        process.join(60)
        assert process.exitcode == 0
