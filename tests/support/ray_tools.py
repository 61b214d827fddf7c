"""A Ray cluster of two machines on this one, and what kills its parts.

As a script it is the cluster: it prints its addresses, and does what it is told on standard input until that
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

from processes import PATIENCE, await_, child

#: What every process of a test cluster runs with: no token in anybody's home, nothing sent to anybody.
#: Workers are not nice to others, as Ray has them: on a busy machine they would hardly run.
ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
#: What the cluster itself runs with. Its server for clients forks in the midst of gRPC's threads; with gRPC's
#: support for that, the process that it starts for a client crashes once in twenty times
#: (ray-project/ray#60316). The rest are seconds that it waits for its parts and clients.
_PATIENT = {
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    "TIMEOUT_FOR_SPECIFIC_SERVER_S": f"{PATIENCE:.0f}",
    "RAY_gcs_server_port_wait_time_s": f"{PATIENCE:.0f}",
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": f"{PATIENCE:.0f}",
}
#: How often a cluster is tried to be started.
_STARTS = 5


@dataclass
class LocalRay:
    """A cluster whose machines are processes of this one.

    Attributes:
        address: Where it is driven from one of its machines.
        client: Where it is driven from elsewhere.
        process: What holds it.
    """

    address: str
    client: str
    process: subprocess.Popen[str]

    @property
    def environment(self) -> dict[str, str]:
        """What a driver finds it by."""
        return {**ENVIRONMENT, "RAY_ADDRESS": self.address}

    def tell(self, what: str) -> None:
        """``kill``: the second machine goes, at once; ``add``: there is another one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(what, file=self.process.stdin, flush=True)
        said = self.process.stdout.readline()
        assert said == f"{what}\n", said

    def workers(self) -> list[int]:
        """The processes that are at work on tasks."""
        raylets = {pid for pid in _children(self.process.pid) if "raylet" in _command(pid)}
        return [
            pid for raylet in raylets for pid in _children(raylet) if _command(pid).startswith("ray::_do")
        ]


@contextlib.contextmanager
def local_ray(**more: str) -> Iterator[LocalRay]:
    """Two machines of a CPU each.

    Args:
        more: Environment of its processes.
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
    """A cluster did not start. Ray gives a machine 30 seconds, which is not enough beside other work."""


@contextlib.contextmanager
def _started(more: Mapping[str, str]) -> Iterator[LocalRay]:
    # The paths of sockets are short.
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


def said_by_servers() -> str:
    """The end of what all servers for clients of clusters on this machine wrote, for a test that failed."""
    logs = sorted(Path("/tmp").glob("ray-*/session_latest/logs/ray_client_server*"))
    return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-3_000:]}" for log in logs)


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal; whether the process was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def await_workers(ray: LocalRay, driver: subprocess.Popen[Any]) -> list[int]:
    """Wait until workers are at work, or the driver has ended: then there may be none."""
    await_(lambda: ray.workers() or driver.poll() is not None, "a worker is at work")
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
    """Hold a cluster until standard input ends."""
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster()
    try:
        # Its own waiting for a machine ends too soon on one that has other work.
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
