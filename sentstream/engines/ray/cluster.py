"""A connection to a Ray cluster: its resources, the operations used here, and the meaning of its errors."""

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

#: How many times Ray retries a task whose worker or machine was lost.
RETRIES: Final = 3
#: Default port of Ray's client server.
_CLIENT_PORT: Final = 10001
#: Timeout in seconds for checking whether anything listens at an address.
_KNOCK: Final = 5.0
#: Connection attempts to a client server. It forks while gRPC threads are running, and the process that it
#: starts for a client sometimes crashes (ray-project/ray#60316).
_TRIES: Final = 3
#: Ray reads these when it is imported or started. Without the first, it looks for a cluster for a quarter of
#: an hour; without the second, it retries forever a task that is killed for lack of memory.
_SETTINGS: Final = {"RAY_NUM_REDIS_GET_RETRIES": "1", "RAY_task_oom_retries": "3"}
_START = "start one with ray start --head, or give its address: --on ray://HOST:PORT"


class RayCluster:
    """A connected cluster.

    Args:
        ray: The ``ray`` module.
        workers: Maximum number of concurrent tasks; None for as many as the cluster has room for.
        gpus: Number of GPUs, or fraction of one, per worker.

    Raises:
        ClusterResourcesError: The cluster does not have these resources.
    """

    def __init__(self, ray: Any, workers: int | None, gpus: float) -> None:
        self._ray, self._asked, self._gpus = ray, workers, gpus
        if workers is not None and (room := self._worker_capacity()) < workers:
            raise ClusterResourcesError(
                f"{workers} workers were requested, but the cluster has room for {room}: "
                f"{self._resources_text()}",
                hint="lower --workers, or leave it out to use all the room",
            )
        if not self._worker_capacity():
            each = f"1 CPU and {gpus:g} GPU" if gpus else "1 CPU"
            raise ClusterResourcesError(
                f"a worker needs {each}, but the cluster has {self._resources_text()}",
                hint="add machines that have this, or lower --gpus-per-worker",
            )

    @property
    def workers(self) -> int:
        """The current number of concurrent tasks; changes as the cluster grows or shrinks."""
        return max(1, self._worker_capacity()) if self._asked is None else self._asked

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """The live machines."""
        return [node for node in self._ray.nodes() if node["Alive"]]

    def remote(self, function: Callable[..., Any], *, max_retries: int) -> Any:
        """A function as a remote task that uses a worker's resources."""
        return self._ray.remote(
            num_cpus=1, num_gpus=self._gpus, max_retries=max_retries, scheduling_strategy="SPREAD"
        )(function)

    def put(self, value: Any) -> Any:
        """Store a value that many tasks need; it is sent to each machine once."""
        return self._ray.put(value)

    def wait(self, refs: Sequence[Any], seconds: float) -> list[Any]:
        """Wait up to ``seconds`` for a result, and return all that are ready."""
        with self._translating_connection_loss():
            ready, _ = self._ray.wait(refs, num_returns=1, timeout=seconds)
            if ready:
                ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
            return list(ready)

    def get(self, ref: Any) -> Any:
        """Return the result of a task.

        Raises:
            Exception: The error that the task raised, or one of ``lost``.
        """
        try:
            with self._translating_connection_loss():
                return self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None

    @contextlib.contextmanager
    def _translating_connection_loss(self) -> Iterator[None]:
        """Turn the error of a lost connection into ``ClusterUnreachableError``."""
        try:
            yield
        except (ConnectionError, self._ray.exceptions.RpcError) as error:
            raise ClusterUnreachableError(
                f"the Ray cluster was lost: {first_line(error)}", hint="continue with --resume"
            ) from error

    def cancel(self, ref: Any) -> None:
        """Interrupt a task; this has no effect on a worker that hangs.

        Without ``force``: with it, Ray 2.60 ends this process if the task finishes at that moment.
        """
        with contextlib.suppress(Exception):  # the task has ended, or its machine is gone
            self._ray.cancel(ref)

    def leave(self) -> None:
        """Disconnect, so that Ray ends all workers of this run."""
        self._ray.shutdown()

    def lost(self) -> tuple[type[Exception], ...]:
        """The exception classes for tasks that did not finish, through no error of their own."""
        exceptions = self._ray.exceptions
        return (
            exceptions.WorkerCrashedError,
            exceptions.OutOfMemoryError,
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
            exceptions.TaskUnschedulableError,
            exceptions.LocalRayletDiedError,
        )

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether Ray killed a worker because its machine ran out of memory."""
        return isinstance(error, self._ray.exceptions.OutOfMemoryError)

    def run_on_each_node(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """Run a function on each machine, without waiting for a CPU; return the results by machine name.

        Raises:
            Exception: Any error that the function raises.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        refs = {}
        for node in self.nodes:
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = self._ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=strategy)(function)
            refs[f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"] = task.remote(*arguments)
        found = {}
        for name, ref in refs.items():
            with contextlib.suppress(*self.lost()):  # the machine is gone, or its tasks will report the error
                found[name] = self.get(ref)
        return found

    def check_versions(self) -> None:
        """Check that all machines have the same versions as this one.

        Raises:
            ClusterVersionError: A machine has different versions.
        """
        probe = version_probe()
        local = probe()
        for node, remote in self.run_on_each_node(probe).items():
            if different := differences(remote, local):
                raise ClusterVersionError(
                    f"the machine {node} has {'; '.join(different)}",
                    hint="install the same versions everywhere, e.g. from one container image",
                )

    def _worker_capacity(self) -> int:
        """The number of workers that the cluster has room for."""
        has = self._ray.cluster_resources()
        room = int(has.get("CPU", 0))
        if self._gpus:
            gpus = has.get("GPU", 0)
            # Two workers with 0.6 GPUs each cannot share one GPU.
            room = min(room, int(gpus * (1 // self._gpus)) if self._gpus < 1 else int(gpus // self._gpus))
        return room

    def _resources_text(self) -> str:
        has = self._ray.cluster_resources()
        return f"{has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs"


@contextlib.contextmanager
def connect(engine: str, *, workers: int | None = None, gpus_per_worker: float = 0.0) -> Iterator[RayCluster]:
    """Connect to a cluster for the duration of the block, after checking its versions and resources.

    Args:
        engine: ``ray`` for the cluster at ``RAY_ADDRESS`` or on this machine, or ``ray://HOST:PORT`` for
            Ray's client server.
        workers: Maximum number of workers; None for as many as there is room for.
        gpus_per_worker: Number of GPUs per worker: a fraction of one, or a whole number.

    Raises:
        UsageError: The engine does not exist, or the number of GPUs is not valid.
        MissingExtraError: Ray is not installed.
        ClusterUnreachableError: There is no cluster.
        ClusterVersionError: It has different versions of Ray, Python or packages that affect the output.
        ClusterResourcesError: It does not have these resources.
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
    _check_listening(address)
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
    """In a worker: the name of its machine, as in ``RayCluster.run_on_each_node``."""
    import ray

    util: Any = ray.util  # untyped
    return f"{util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[:6]})"


def _address(engine: str) -> str:
    """The address in ``--on``; empty if there is none."""
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
    """The address of the cluster last started on this machine; empty if there is none."""
    from ray._private.utils import read_ray_address  # ray.init("auto") also uses it, but then waits

    return read_ray_address() or ""


def _check_listening(address: str) -> None:
    """Check that something listens at the address: Ray itself would keep trying for minutes."""
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
        if main:  # Ray's own handler would end the process silently
            signal.signal(signal.SIGTERM, terminating)


def _explained(address: str, error: Exception) -> SentstreamError:
    """The error for a failed connection to an address where something listens."""
    if isinstance(error, ImportError):
        return MissingExtraError(f"--on {address} needs {error.name or 'grpcio'}", extra="ray")
    text = " ".join(str(error).split())
    if "ersion" in text:
        return ClusterVersionError(
            f"the cluster at {address} has different versions: {text[:300]}",
            hint="install the same Ray and Python everywhere",
        )
    last = str(error).strip().splitlines()[-1] if text else first_line(error)  # below a server's traceback
    return ClusterUnreachableError(f"no Ray cluster answers at {address}: {one_line(last)}", hint=_START)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's messages about lost workers off standard output, which is for data; we report them."""
    from ray._private import worker

    before, worker._worker_logs_enabled = worker._worker_logs_enabled, False
    try:
        yield
    finally:
        worker._worker_logs_enabled = before
