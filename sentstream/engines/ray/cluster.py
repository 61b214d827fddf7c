"""A connection to a Ray cluster: what it has, what may be asked of it, and what its errors mean."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from sentstream.engines.versions import differences, version_probe
from sentstream.errors import (
    ClusterError,
    ClusterResourcesError,
    ClusterUnreachableError,
    ClusterVersionError,
    MissingExtraError,
    SentstreamError,
    UsageError,
    first_line,
    one_line,
)

#: How often Ray runs a task again whose worker or machine was lost.
RETRIES: Final = 3
#: Where Ray's server for clients elsewhere listens, unless it is told otherwise.
_CLIENT_PORT: Final = 10001
#: Seconds to find out whether anybody listens at an address.
_KNOCK: Final = 5.0
#: How often a server for clients is asked. It forks in the midst of gRPC's threads, and the process that it
#: starts for a client crashes now and then (ray-project/ray#60316).
_TRIES: Final = 3
#: Read by Ray as it is imported or started. Without the first one it looks for a cluster for a quarter of an
#: hour; without the second one it runs a task without end that is killed for lack of memory.
_SETTINGS: Final = {"RAY_NUM_REDIS_GET_RETRIES": "1", "RAY_task_oom_retries": "3"}
_START = "start one with ray start --head, or give its address: --on ray://HOST:PORT"


class RayCluster:
    """A cluster that is connected.

    Args:
        ray: The module.
        workers: Tasks at a time, at most; None for as many as the cluster has room for.
        gpus: The share of a GPU that each has.

    Raises:
        ClusterResourcesError: The cluster has not so much.
    """

    def __init__(self, ray: Any, workers: int | None, gpus: float) -> None:
        self._ray, self._asked, self._gpus = ray, workers, gpus
        if workers is not None and (room := self._room()) < workers:
            raise ClusterResourcesError(
                f"{workers} workers were requested, but the cluster has room for {room}: {self._has()}",
                hint="lower --workers, or leave it out to use all the room",
            )
        if not self._room():
            each = f"1 CPU and {gpus:g} GPU" if gpus else "1 CPU"
            raise ClusterResourcesError(
                f"a worker needs {each}, but the cluster has {self._has()}",
                hint="add machines that have this, or lower --gpus-per-worker",
            )

    @property
    def workers(self) -> int:
        """Tasks at a time: a cluster may grow, and shrink."""
        return max(1, self._room()) if self._asked is None else self._asked

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """The machines that are alive."""
        return [node for node in self._ray.nodes() if node["Alive"]]

    def remote(self, function: Callable[..., Any], *, max_retries: int) -> Any:
        """A function as a task that takes what a worker takes."""
        return self._ray.remote(
            num_cpus=1, num_gpus=self._gpus, max_retries=max_retries, scheduling_strategy="SPREAD"
        )(function)

    def put(self, value: Any) -> Any:
        """Something that many tasks need, sent once to each machine."""
        return self._ray.put(value)

    def wait(self, refs: Sequence[Any], seconds: float) -> list[Any]:
        """All results that are there, at the latest after so long."""
        with self._losing():
            ready, _ = self._ray.wait(refs, num_returns=1, timeout=seconds)
            if ready:
                ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
            return list(ready)

    def get(self, ref: Any) -> Any:
        """A result.

        Raises:
            Exception: What the task raised; or one of ``lost``.
        """
        try:
            with self._losing():
                return self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        """A connection that ends, as an error that says so."""
        try:
            yield
        except (ConnectionError, self._ray.exceptions.RpcError) as error:
            raise ClusterUnreachableError(
                f"the Ray cluster was lost: {first_line(error)}", hint="continue with --resume"
            ) from error

    def cancel(self, ref: Any) -> None:
        """Interrupt a task; a worker that hangs does not notice.

        Not by force: Ray 2.60 then ends this process when the task comes to its end in that moment.
        """
        with contextlib.suppress(Exception):  # it has ended, or its machine is gone
            self._ray.cancel(ref)

    def leave(self) -> None:
        """Have Ray end all workers of this run."""
        self._ray.shutdown()

    def lost(self) -> tuple[type[Exception], ...]:
        """The errors that say that a task did not come to its end, and it is not its own doing."""
        known = self._ray.exceptions
        return (
            known.WorkerCrashedError,
            known.OutOfMemoryError,
            known.NodeDiedError,
            known.ObjectLostError,
            known.TaskUnschedulableError,
            known.LocalRayletDiedError,
        )

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether Ray killed a worker for the memory of its machine."""
        return isinstance(error, self._ray.exceptions.OutOfMemoryError)

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """What a function gives on each machine, by its name; it waits for no CPU.

        Raises:
            Exception: What it raised.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        refs = {}
        for node in self.nodes:
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = self._ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=strategy)(function)
            refs[f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"] = task.remote(*arguments)
        found = {}
        for name, ref in refs.items():
            with contextlib.suppress(*self.lost()):  # it went meanwhile, or will do so when there is work
                found[name] = self.get(ref)
        return found

    def check_versions(self) -> None:
        """Find out whether all machines have what this one has.

        Raises:
            ClusterVersionError: One has not.
        """
        probe = version_probe()
        here = probe()
        for node, there in self.everywhere(probe).items():
            if different := differences(there, here):
                raise ClusterVersionError(
                    f"the machine {node} has {'; '.join(different)}",
                    hint="install the same versions everywhere, e.g. from one container image",
                )

    def _room(self) -> int:
        """How many workers there is room for."""
        has = self._ray.cluster_resources()
        room = int(has.get("CPU", 0))
        if self._gpus:
            gpus = has.get("GPU", 0)
            # Two workers of 0.6 do not share a GPU.
            room = min(room, int(gpus * (1 // self._gpus)) if self._gpus < 1 else int(gpus // self._gpus))
        return room

    def _has(self) -> str:
        has = self._ray.cluster_resources()
        return f"{has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs"


@contextlib.contextmanager
def connect(engine: str, *, workers: int | None = None, gpus_per_worker: float = 0.0) -> Iterator[RayCluster]:
    """A cluster, for as long as the block lasts; it is looked at before any work.

    Args:
        engine: ``ray``: that of ``RAY_ADDRESS``, or that of this machine; or ``ray://HOST:PORT``, through
            Ray's server for clients.
        workers: Workers, at most; None for as many as there is room for.
        gpus_per_worker: The share of a GPU that each has; a whole number above 1.

    Raises:
        UsageError: There is no such engine, or no such share.
        MissingExtraError: Ray is not installed.
        ClusterUnreachableError: No cluster is there.
        ClusterVersionError: It has other versions of Ray, Python or what makes an output's bytes.
        ClusterResourcesError: It has not so much.
    """
    if not 0 <= gpus_per_worker < math.inf or (gpus_per_worker > 1 and gpus_per_worker % 1):
        raise UsageError(
            f"--gpus-per-worker {gpus_per_worker:g}: Ray takes a fraction of one GPU or a whole number",
            hint="e.g. 0.5, 1 or 2",
        )
    given = _address(engine)
    ray = _import()
    address = given or os.environ.get("RAY_ADDRESS") or _local_address()
    if address == "auto":
        address = _local_address()
    if not address:
        raise ClusterUnreachableError("no Ray cluster runs on this machine", hint=_START)
    _knock(address)
    if ray.is_initialized():
        raise ClusterError(
            "this process is already connected to a Ray cluster", hint="call ray.shutdown() first"
        )
    with _quiet():
        _start(ray, address)
        try:
            cluster = RayCluster(ray, workers, gpus_per_worker)
            cluster.check_versions()
            yield cluster
        finally:
            ray.shutdown()


def this_node() -> str:
    """In a worker: the machine that it runs on, as ``RayCluster.everywhere`` calls it."""
    import ray

    util: Any = ray.util  # without types
    return f"{util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[:6]})"


def _address(engine: str) -> str:
    """The address in ``--on``; empty where there is none."""
    if engine == "ray":
        return ""
    match = re.fullmatch(r"ray://([^/:\s]+|\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?/?", engine)
    if match is None:
        raise UsageError(f"--on {engine}: no such engine", hint="use ray or ray://HOST:PORT")
    return f"ray://{match[1]}:{match[2] or _CLIENT_PORT}"


def _import() -> Any:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.util
    except ImportError as error:
        raise MissingExtraError("--on ray needs ray, which is not installed", extra="ray") from error
    return ray


def _local_address() -> str:
    """Where the cluster of this machine was started last; empty where none was."""
    from ray._private.utils import read_ray_address  # which ray.init("auto") asks, too, and then waits

    return read_ray_address() or ""


def _knock(address: str) -> None:
    """Find out whether anybody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK).close()
    except (OSError, ValueError) as error:
        raise ClusterUnreachableError(
            f"no Ray cluster answers at {address}: {getattr(error, 'strerror', None) or error}", hint=_START
        ) from error


def _start(ray: Any, address: str) -> None:
    main = threading.current_thread() is threading.main_thread()
    terminating = signal.getsignal(signal.SIGTERM)
    try:
        for left in reversed(range(_TRIES if address.startswith("ray://") else 1)):
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
                return
            except Exception as error:
                explained = _explained(address, error)
                if not left or not isinstance(explained, ClusterUnreachableError):
                    raise explained from error
    finally:
        if main:  # Ray would end the process without a word
            signal.signal(signal.SIGTERM, terminating)


def _explained(address: str, error: Exception) -> SentstreamError:
    """Why there is no connection to somebody who listens."""
    if isinstance(error, ImportError):
        return MissingExtraError(f"--on {address} needs {error.name or 'grpcio'}", extra="ray")
    said = " ".join(str(error).split())
    if "ersion" in said:
        return ClusterVersionError(
            f"the cluster at {address} has different versions: {said[:300]}",
            hint="install the same Ray and Python everywhere",
        )
    last = str(error).strip().splitlines()[-1] if said else first_line(error)  # after a server's traceback
    return ClusterUnreachableError(f"no Ray cluster answers at {address}: {one_line(last)}", hint=_START)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's own words on lost workers off standard output, where data go; what matters is told by us."""
    from ray._private import worker

    before, worker._worker_logs_enabled = worker._worker_logs_enabled, False
    try:
        yield
    finally:
        worker._worker_logs_enabled = before
