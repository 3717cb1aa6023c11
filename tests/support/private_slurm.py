"""A private SLURM on this machine, from Debian's packages: two nodes, two partitions, fake GPUs.

``apt-get install -y --no-install-recommends munge slurmctld slurmd slurm-client``. It listens on the loopback
interface only, needs no systemd, and runs as root or as an ordinary user.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")

SLURM_CONF = """\
ClusterName=private
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ctld}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=5
ReturnToService=2
EnforcePartLimits=ALL
SlurmdParameters=config_overrides
MinJobAge=3600
MailProg=/bin/true
GresTypes=gpu
SwitchType=switch/none
MpiDefault=none
NodeName=first NodeHostname=localhost NodeAddr=127.0.0.1 Port={first} CPUs=4 RealMemory=64000 Gres=gpu:2
NodeName=second NodeHostname=localhost NodeAddr=127.0.0.1 Port={second} CPUs=4 RealMemory=64000 Gres=gpu:2
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=60 MaxTime=INFINITE State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=60 State=UP
"""
GRES_CONF = """\
NodeName=first,second Name=gpu File=/dev/null
NodeName=first,second Name=gpu File=/dev/zero
"""


def missing() -> str | None:
    """The reason why no SLURM can be started on this machine, or None."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]
    if not absent:
        return None
    packages = "munge slurmctld slurmd slurm-client"
    return f"no {', '.join(absent)}: apt-get install --no-install-recommends {packages}"


def search_path() -> str:
    """PATH with the folders of the daemons, which an ordinary user's PATH may lack."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class PrivateSlurm:
    """The cluster.

    Args:
        folder: for its sockets, logs and spools; its path has to be short (sockets) and without blanks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen[bytes]] = []
        ports = dict(zip(("ctld", "first", "second"), _free_ports(3), strict=True))
        cgroups = "v1" if self._version() < (23, 11) else "disabled"
        plugin = f"CgroupPlugin={'cgroup/v1' if cgroups == 'v1' else 'disabled'}\n"
        texts = {
            "slurm.conf": SLURM_CONF.format(user=getpass.getuser(), folder=folder, **ports),
            "gres.conf": GRES_CONF,
            "cgroup.conf": plugin,
            "plugstack.conf": "",
        }
        (folder / "state").mkdir(parents=True)
        for name, text in texts.items():
            (folder / name).write_text(text)
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (folder / "munge.key").chmod(0o600)

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which SLURM's commands use this cluster."""
        hidden = ("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        return {**kept, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": search_path()}

    def start(self) -> None:
        """Start the daemons and wait until both nodes are idle."""
        folder = self.folder
        self._daemon(
            "munged", "--foreground", "--force", f"--key-file={folder}/munge.key",
            f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log",
            f"--seed-file={folder}/munged.seed",
        )  # fmt: skip
        _until((folder / "munge.socket").exists, "munged")
        self._daemon("slurmctld", "-D", "-c", "-f", str(folder / "slurm.conf"))
        for name in ("first", "second"):
            (folder / f"spool.{name}").mkdir()
            self._daemon("slurmd", "-D", "-N", name, "-f", str(folder / "slurm.conf"))
        _until(
            lambda: self.run("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * 4,
            "the nodes",
            self,
        )

    def stop(self) -> None:
        """End all jobs and the daemons."""
        subprocess.run(
            ["scancel", "--full", "-u", getpass.getuser()],
            env=self.environment,
            check=False,
            capture_output=True,
        )
        conf = self.environment["SLURM_CONF"]
        deadline = time.monotonic() + 10  # SLURM kills jobs that do not end after KillWait
        while self.run("squeue", "-h") and time.monotonic() < deadline:
            time.sleep(0.2)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        deadline = (
            time.monotonic() + 1
        )  # slurmd would take ten seconds; nothing is left that it has to end
        for daemon in self.daemons:
            try:
                daemon.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        # The process of a step may wait for an answer of daemons that have ended.
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name() == "slurmstepd" and process.environ().get("SLURM_CONF") == conf:
                    process.kill()

    def run(self, *words: str) -> str:
        """The output of one of SLURM's commands; empty if it fails."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=30, check=False
        )
        return done.stdout if done.returncode == 0 else ""

    def job(self, number: str) -> dict[str, str]:
        """SLURM's information about a job, by key."""
        output = self.run("scontrol", "--oneliner", "show", "job", number)
        return dict(word.partition("=")[::2] for word in output.split())

    def _version(self) -> tuple[int, ...]:
        output = subprocess.run(
            ["slurmctld", "-V"],
            env={"PATH": search_path()},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return tuple(int(part) for part in output.split()[-1].split(".")[:2])

    def _daemon(self, *words: str) -> None:
        log = (self.folder / f"{words[0]}.output").open("ab")
        with log:
            self.daemons.append(
                subprocess.Popen(
                    words,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for bound in sockets:
        bound.bind(("127.0.0.1", 0))
    ports = [bound.getsockname()[1] for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports


def _until(condition, name, cluster=None, seconds: float = 30):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            logs = cluster.folder.glob("*.log") if cluster else []
            excerpts = "\n".join(f"{log.name}:\n{log.read_text()[-1500:]}" for log in logs)
            raise RuntimeError(f"{name} did not start within {seconds:g} s\n{excerpts}")
        time.sleep(0.1)
