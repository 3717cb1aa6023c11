"""The available memory: limits of control groups, read from files in the kernel's format, and plans that exceed them."""

import math

import psutil
import pytest
import torch

from dramaeval.models.planning.machine import Capacity, group_limit
from dramaeval.models.planning.memory import MemoryEstimate

MIB = 2**20
UNLIMITED = 9223372036854771712  # version 1 without a limit


@pytest.fixture
def proc_of(tmp_path):
    """A function that writes the folder of a process in /proc and control groups with these limits."""

    def build(groups, mounts, limits):
        proc = tmp_path / "proc"
        proc.mkdir()
        (proc / "cgroup").write_text(groups)
        lines = [
            f"{32 + number} 31 0:{number} {root} {tmp_path}{folder} rw,relatime shared:9 - {kind}"
            for number, (root, folder, kind) in enumerate(mounts)
        ]
        (proc / "mountinfo").write_text("\n".join(["22 1 254:0 / / rw - ext4 /dev/vda rw", *lines]))
        for name, limit in limits.items():
            file = tmp_path / name.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{limit}\n")
        return proc

    return build


V2 = ("/", "/cg", "cgroup2 cgroup2 rw,nsdelegate")
V1 = [("/", "/cg/cpu", "cgroup cgroup rw,cpu"), ("/", "/cg/memory", "cgroup cgroup rw,memory")]


@pytest.mark.parametrize(
    ("groups", "mounts", "limits", "expected"),
    [
        # SLURM with version 2: the step has no limit, its job has one
        ("0::/system.slice/job_7/step_0\n", [V2],
         {"/cg/system.slice/job_7/step_0/memory.max": "max",
          "/cg/system.slice/job_7/memory.max": 5 * MIB,
          "/cg/system.slice/memory.max": 9 * MIB,
          "/cg/system.slice/job_8/memory.max": MIB}, 5 * MIB),
        # Docker with a separate name space
        ("0::/\n", [V2], {"/cg/memory.max": 3 * MIB}, 3 * MIB),
        ("0::/../other\n", [V2], {"/cg/memory.max": 3 * MIB}, 3 * MIB),
        # Docker without: the path is relative to the host's root, the mount to the container's group
        ("0::/docker/abc\n", [("/docker/abc", *V2[1:])], {"/cg/memory.max": 4 * MIB}, 4 * MIB),
        ("5:memory:/docker/abc\n1:cpu:/\n", [("/docker/abc", *V1[1][1:])],
         {"/cg/memory/memory.limit_in_bytes": 6 * MIB}, 6 * MIB),
        # version 1, with an empty version 2 beside it
        ("9:name=systemd:/\n4:cpu,cpuacct:/\n5:hugetlb,memory:/slurm/job\n0::/\n", [*V1, V2],
         {"/cg/memory/slurm/job/memory.limit_in_bytes": 8 * MIB,
          "/cg/memory/memory.limit_in_bytes": UNLIMITED,
          "/cg/cpu/slurm/job/memory.limit_in_bytes": 1}, 8 * MIB),
        ("5:memory:/\n", V1, {"/cg/memory/memory.limit_in_bytes": UNLIMITED}, UNLIMITED),
        ("0::/user.slice\n", [V2], {}, math.inf),
        ("", [], {}, math.inf),
    ],
)  # fmt: skip
def test_the_smallest_limit_of_a_group_and_its_ancestors_applies(
    proc_of, groups, mounts, limits, expected
):
    assert group_limit(proc_of(groups, mounts, limits)) == expected


def test_there_is_no_limit_without_proc(tmp_path):
    assert group_limit(tmp_path / "nothing") == math.inf


def test_the_capacity_is_the_smaller_of_the_machine_and_the_control_group(monkeypatch):
    total = psutil.virtual_memory().total
    for limit, host, source in (
        (math.inf, total, "this machine"),
        (5.0 * MIB, 5.0 * MIB, "this process's control group"),
    ):
        monkeypatch.setattr(
            "dramaeval.models.planning.machine.group_limit", lambda limit=limit: limit
        )
        capacity = Capacity.here(torch.device("cpu"), 2)
        assert capacity == Capacity(host=host, processes=2, source=source)


def estimate_of(device, host):
    return MemoryEstimate(
        weights=device - 3.0 * MIB,
        gradients=1.0 * MIB,
        optimizer=float(host),
        activations=2.0 * MIB,
        in_host=("optimizer",),
    )


@pytest.mark.parametrize(
    ("capacity", "device", "host", "sentences"),
    [
        # on a CPU both parts of all processes are in the machine's memory
        ({"host": 100}, 60, 40, []),
        ({"host": 100}, 61, 40, ["about 101.0 MiB of memory, and this machine has 100.0 MiB"]),
        ({"host": 200, "processes": 2}, 60, 40, []),
        ({"host": 199, "processes": 2}, 60, 40,
         ["about 200.0 MiB of memory for 2 processes, and this machine has 199.0 MiB"]),
        # each process has a GPU
        ({"host": 80, "gpu": 60, "processes": 2}, 60, 40, []),
        ({"host": 80, "gpu": 60, "processes": 2}, 61, 40,
         ["about 61.0 MiB of GPU memory, and the GPU has 60.0 MiB"]),
        ({"host": 79, "gpu": 60, "processes": 2}, 60, 40,
         ["about 80.0 MiB of memory for 2 processes, and this machine has 79.0 MiB"]),
    ],
)  # fmt: skip
def test_an_estimate_above_the_capacity_is_a_shortage_with_its_sizes(
    capacity, device, host, sentences
):
    sizes = {name: size * (1 if name == "processes" else MIB) for name, size in capacity.items()}
    memory = estimate_of(device * MIB, host * MIB)
    assert Capacity(**sizes).shortages(memory) == sentences
