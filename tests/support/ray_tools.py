"""A Ray cluster of two nodes on this machine, and helpers that kill its parts.

As a script it is the cluster: it prints its addresses, and takes commands on standard input until that
ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import PATIENCE, child, wait_until

#: For every process of a test cluster: no token in the home directory, no usage statistics. Workers keep the
#: normal niceness, unlike Ray's default, with which they would hardly run on a busy machine.
ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
#: For the cluster itself. Its client server forks while gRPC's threads run; with gRPC's fork support, one in
#: twenty of the processes that it starts for clients crashes (ray-project/ray#60316). The others are timeouts
#: for its parts and clients, in seconds.
_PATIENT = {
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    "TIMEOUT_FOR_SPECIFIC_SERVER_S": f"{PATIENCE:.0f}",
    "RAY_gcs_server_port_wait_time_s": f"{PATIENCE:.0f}",
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": f"{PATIENCE:.0f}",
}
#: Maximum number of attempts to start a cluster.
_STARTS = 5


@dataclass
class LocalRay:
    """A cluster whose nodes are processes of this machine.

    Attributes:
        address: Its address for drivers on one of its nodes.
        client: Its address for drivers elsewhere.
        process: The process that runs it.
    """

    address: str
    client: str
    process: subprocess.Popen[str]

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a driver."""
        return {**ENVIRONMENT, "RAY_ADDRESS": self.address}

    def tell(self, command: str) -> None:
        """Send a command: ``kill`` removes the second node at once, ``add`` adds another one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(command, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        assert line == f"{command}\n", line

    def workers(self) -> list[int]:
        """Return the processes that are running tasks."""
        raylets = {pid for pid in _children(self.process.pid) if "raylet" in _command(pid)}
        return [
            pid for raylet in raylets for pid in _children(raylet) if _command(pid).startswith("ray::_do")
        ]


@contextlib.contextmanager
def local_ray(**more: str) -> Iterator[LocalRay]:
    """A cluster of two nodes with one CPU each.

    Args:
        more: Environment variables of its processes.
    """
    with contextlib.ExitStack() as stack:
        for number in range(_STARTS):
            try:
                cluster = stack.enter_context(_started(more))
                break
            except _StartError:
                if number == _STARTS - 1:
                    raise
        yield cluster
        assert cluster.process.stdin is not None
        cluster.process.stdin.close()
        cluster.process.wait()


class _StartError(Exception):
    """A cluster did not start. Ray gives a node 30 seconds, which is not enough on a busy machine."""


@contextlib.contextmanager
def _started(more: Mapping[str, str]) -> Iterator[LocalRay]:
    # Socket paths must be short.
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder,
        tempfile.TemporaryFile("w+") as log,
    ):
        environment = {**os.environ, **ENVIRONMENT, **_PATIENT, **more, "RAY_TMPDIR": folder}
        command = [sys.executable, __file__, str(_free_port())]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
        with child(command, env=environment, text=True, **pipes) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                log.seek(0)
                raise _StartError(log.read())
            yield LocalRay(**json.loads(line), process=process)


def server_logs() -> str:
    """Return the end of the logs of all client servers on this machine, for a failed test."""
    logs = sorted(Path("/tmp").glob("ray-*/session_latest/logs/ray_client_server*"))
    return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-3_000:]}" for log in logs)


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal; return whether the process existed."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def await_workers(ray: LocalRay, driver: subprocess.Popen[Any]) -> list[int]:
    """Wait until workers are running tasks, or the driver has ended: then there may be none."""
    wait_until(lambda: ray.workers() or driver.poll() is not None, "a worker is at work")
    return ray.workers()


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def main(port: int) -> None:
    """Run a cluster until standard input ends."""
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster()
    try:
        # Its own wait for a node times out too soon on a busy machine.
        cluster.add_node(wait=False, num_cpus=1, include_dashboard=False, ray_client_server_port=port)
        cluster.wait_for_nodes(PATIENCE)
        nodes = [cluster.add_node(wait=False, num_cpus=1)]
        cluster.wait_for_nodes(PATIENCE)
        print(json.dumps({"address": cluster.address, "client": f"ray://127.0.0.1:{port}"}), flush=True)
        for line in sys.stdin:
            if line == "kill\n":
                cluster.remove_node(nodes.pop(), allow_graceful=False)
            else:
                nodes.append(cluster.add_node(wait=False, num_cpus=1))
                cluster.wait_for_nodes(PATIENCE)
            print(line, end="", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
