"""``sentstream score --on ray``: two nodes write what one process writes, whichever of them dies."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from effort import LONG, cases
from golden import bits, golden_bits, golden_tweets
from processes import PATIENCE, child, wait_until
from ray_tools import LocalRay, await_workers, kill, local_ray, server_logs

from sentstream.bundle import load_bundle
from sentstream.cli import main
from sentstream.dataset import open_source
from sentstream.engines.ray.cluster import RETRIES, _start
from sentstream.engines.ray.drive import RayDrive
from sentstream.engines.worker import Guard, check_model, check_visibility
from sentstream.errors import ClusterPathError, ClusterUnreachableError, ClusterVersionError
from sentstream.storage.local import LocalStorage, local_file
from tools.local_stores import LocalS3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="the extra ray is not installed"),
]

FILES, ROWS, LARGE = 200, 400, 450_000
ALL = FILES * ROWS + LARGE + 3


@pytest.fixture(name="ray", scope="module")
def _ray(s3: LocalS3) -> Iterator[LocalRay]:
    """One cluster for all; its machines know the object store."""
    with local_ray(**s3.environment) as cluster:
        yield cluster


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture(name="tweets", scope="module")
def _tweets(s3: LocalS3) -> Path:
    """Many small files, some in other formats, and a large one; also the bucket ``tweets``."""
    folder = s3.folder / "tweets" / "in"
    for number in range(FILES):
        path = folder / f"day={number % 3}" / f"{number:04}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = range(number * ROWS, (number + 1) * ROWS)
        table = pa.table(
            {"id": rows, "text": [f"tweet {row} is so {'good' if row % 3 else 'bad'}" for row in rows]}
        )
        pq.write_table(table, path)
    (folder / "a.csv").write_text("id,text\n1,good day\n2,\n")
    (folder / "b.jsonl").write_text('{"text": "i hate it", "n": 1}\n')
    text = [f"{os.urandom(12).hex()} good" for _ in range(LARGE)]
    table = pa.table({"id": range(LARGE), "text": text})
    pq.write_table(table, folder / "large.parquet", row_group_size=50_000, compression="none")
    assert len(open_source(local_file(folder / "large.parquet")).pieces()) == 2
    return folder


@pytest.fixture(name="expected", scope="module")
def _expected(tweets: Path, bundle: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process writes."""
    output = tmp_path_factory.mktemp("expected") / "out"
    assert main(arguments(bundle, tweets, output)) == 0
    return everything(output)


def arguments(bundle: str, source: object, output: object, *more: str) -> list[str]:
    return ["score", "--model", bundle, "--provider", "cpu", str(source), "-o", f"{output}/", *more]


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def without_names(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files without the manifest, which names the inputs."""
    return {name: data for name, data in files.items() if not name.startswith("_sentstream/")}


def ended(process: subprocess.Popen[Any], code: int = 0) -> str:
    out, err = output_of(process)
    assert process.returncode == code, f"{err}\n{server_logs()}"
    assert "Traceback" not in err
    return str(out)


def refused(process: subprocess.Popen[Any], code: int) -> str:
    """The only line of a run that ends with an error."""
    out, err = output_of(process)
    assert process.returncode == code, err
    assert not out
    (line,) = err.splitlines()
    return str(line)


def output_of(process: subprocess.Popen[Any]) -> tuple[str, str]:
    """Return its output; if it hangs, its stack and the logs of the cluster's client servers."""
    try:
        return process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        out, err = process.communicate()
        raise AssertionError(f"it does not end:\n{out}\n{err}\n{server_logs()}") from None


def driver(
    ray: LocalRay, given: list[str], *, program: tuple[str, ...] = ("-m", "sentstream"), **more: str
) -> Any:
    """A run of the command on the cluster."""
    environment = {**os.environ, **ray.environment, **more, "PYTHONFAULTHANDLER": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return child([sys.executable, *program, *given], env=environment, text=True, **pipes)


class TestConnection:
    """Ray's client server crashes sporadically, which a test cannot provoke."""

    def failing(self, *errors: Exception) -> tuple[Any, list[str]]:
        asked: list[str] = []
        left = list(errors)

        def init(address: str, **_: object) -> None:
            asked.append(address)
            if left:
                raise left.pop(0)

        return SimpleNamespace(init=init), asked

    def test_connection_is_retried(self) -> None:
        ray, asked = self.failing(ConnectionError("gone"), RuntimeError("psutil.ZombieProcess"))
        _start(ray, "ray://there:1")
        assert asked == ["ray://there:1"] * 3

    @pytest.mark.parametrize(
        ("address", "error", "asked", "expected"),
        [
            ("ray://there:1", "gone", 3, ClusterUnreachableError),
            ("there:1", "gone", 1, ClusterUnreachableError),
            ("ray://there:1", "Version mismatch", 1, ClusterVersionError),
        ],
    )
    def test_connection_retries_are_limited(
        self, address: str, error: str, asked: int, expected: type[ClusterUnreachableError]
    ) -> None:
        ray, addresses = self.failing(*[ConnectionError(error)] * 3)
        with pytest.raises(expected, match=error):
            _start(ray, address)
        assert len(addresses) == asked


class TestSameBytes:
    def test_local_files(
        self,
        ray: LocalRay,
        tweets: Path,
        bundle: str,
        expected: dict[str, bytes],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Relative paths, which mean nothing to a worker; parts of a large file, and all kinds of others."""
        monkeypatch.chdir(tweets.parent)
        with driver(ray, arguments(bundle, "in", tmp_path / "out", "--on", "ray", "--json")) as process:
            report = json.loads(ended(process))
        assert report["rows"] == ALL
        assert sum(node["rows"] for node in report["nodes"]) == report["rows"]
        assert without_names(everything(tmp_path / "out")) == without_names(expected)
        assert main(["verify", str(tmp_path / "out")]) == 0

    def test_object_store_and_ray_client(
        self, ray: LocalRay, s3: LocalS3, tweets: Path, bundle: str, expected: dict[str, bytes]
    ) -> None:
        given = arguments(bundle, "s3://tweets/in", "s3://tweets/client", "--on", ray.client)
        with driver(ray, given, **s3.environment, RAY_ADDRESS="") as process:
            ended(process)
        assert without_names(everything(tweets.parent / "client")) == without_names(expected)
        assert not s3.uploads()

    def test_selected_rows_and_columns(
        self, ray: LocalRay, tweets: Path, bundle: str, tmp_path: Path
    ) -> None:
        """A single file, whose manifest goes."""
        source = tweets / "day=1" / "0001.parquet"
        more = ["--where", "day = 1 and id > 500"]
        more += [
            "--columns",
            "id,day",
            "--abstain",
            "0.6",
            "--compression",
            "snappy",
            "--row-group-rows",
            "64",
        ]
        assert main(arguments(bundle, source, tmp_path / "here", *more)) == 0
        with driver(ray, arguments(bundle, source, tmp_path / "there", *more, "--on", "ray")) as process:
            ended(process)
        assert without_names(everything(tmp_path / "there")) == without_names(everything(tmp_path / "here"))

    def test_hive_folders(self, ray: LocalRay, tweets: Path, bundle: str, tmp_path: Path) -> None:
        """Of small files, and of a large one in parts; one of the columns is what scoring adds."""
        source = tmp_path / "in"
        shutil.copytree(tweets / "day=2", source)
        shutil.copy(tweets / "large.parquet", source)
        more = ["--partition-by", "sentiment"]
        assert main(arguments(bundle, source, tmp_path / "here", *more)) == 0
        with driver(ray, arguments(bundle, source, tmp_path / "there", *more, "--on", "ray")) as process:
            ended(process)
        assert everything(tmp_path / "there") == everything(tmp_path / "here")
        assert main(["verify", str(tmp_path / "there")]) == 0

    def test_golden_bits(self, ray: LocalRay, tmp_path: Path) -> None:
        """Of the model that ships, whose arithmetic is in several threads elsewhere."""
        for number, batch in enumerate(golden_tweets().to_batches(max_chunksize=1_000)):
            (tmp_path / "in").mkdir(exist_ok=True)
            pq.write_table(pa.Table.from_batches([batch]), tmp_path / "in" / f"{number}.parquet")
        with driver(ray, arguments("tweets", tmp_path / "in", tmp_path / "out", "--on", "ray")) as process:
            ended(process)
        assert bits(pq.read_table(tmp_path / "out")) == golden_bits()


class TestFailures:
    def test_killed_workers(
        self, ray: LocalRay, tweets: Path, bundle: str, expected: dict[str, bytes], tmp_path: Path
    ) -> None:
        output, killed = tmp_path / "out", 0
        with driver(ray, arguments(bundle, tweets, output, "--on", "ray", "--json")) as process:
            for _ in range(cases(3)):
                for pid in await_workers(ray, process)[:1]:
                    killed += kill(pid)
            report = json.loads(ended(process))  # and nothing of Ray's on standard output
        assert killed
        assert report["rows"] == ALL
        assert everything(output) == expected
        assert not hidden(tmp_path)

    def test_lost_node(
        self, ray: LocalRay, s3: LocalS3, tweets: Path, bundle: str, expected: dict[str, bytes]
    ) -> None:
        given = arguments(bundle, "s3://tweets/in", "s3://tweets/machine", "--on", "ray")
        with driver(ray, given, **s3.environment) as process:
            wait_until(lambda: len(ray.workers()) == 2 or process.poll() is not None, "both are at work")
            ray.tell("kill")
            ended(process)
        ray.tell("add")
        assert without_names(everything(tweets.parent / "machine")) == without_names(expected)
        assert not s3.uploads()

    def test_killed_driver_resumes_with_and_without_ray(
        self, ray: LocalRay, tweets: Path, bundle: str, expected: dict[str, bytes], tmp_path: Path
    ) -> None:
        """Killed on the cluster, then here, then on the cluster; this process ends it."""
        output = tmp_path / "out"
        given = arguments(bundle, tweets, output, "--resume")
        first_output = output / "day=0" / "0000.parquet"
        for number in range(cases(3)):
            on = () if number % 2 else ("--on", "ray")
            with driver(ray, [*given, *on]) as process:
                count = len(outputs(output))
                wait_until(
                    lambda count=count: len(outputs(output)) > count or process.poll() is not None,
                    f"{first_output}",
                )
                process.kill()
        begun = outputs(output)
        assert begun
        assert main(given) == 0
        assert everything(output) == expected
        assert not hidden(tmp_path)

    def test_driver_gets_sigterm(self, ray: LocalRay, tweets: Path, bundle: str, tmp_path: Path) -> None:
        """It reports the signal itself; Ray would end it silently."""
        with driver(ray, arguments(bundle, tweets, tmp_path / "out", "--on", "ray")) as process:
            await_workers(ray, process)
            process.terminate()
            assert refused(process, 143) == "sentstream: error: interrupted"
        wait_until(lambda: not ray.workers(), "its workers go, too")

    def test_hung_worker(
        self, ray: LocalRay, tweets: Path, bundle: str, expected: dict[str, bytes], tmp_path: Path
    ) -> None:
        """Another worker does its work; when it wakes up, it changes nothing."""
        output = tmp_path / "out"
        with driver(ray, arguments(bundle, tweets, output, "--on", "ray")) as process:
            stopped = [pid for pid in await_workers(ray, process)[:1] if kill(pid, signal.SIGSTOP)]
            assert stopped
            ended(process)
        for pid in stopped:
            kill(pid, signal.SIGCONT)
        assert everything(output) == expected

    @pytest.mark.parametrize("on_error", ["skip", "fail"] if LONG else ["skip"])
    def test_killed_workers_on_one_file(
        self, ray: LocalRay, tweets: Path, bundle: str, tmp_path: Path, on_error: str
    ) -> None:
        """It is found among others, and left out or named."""
        source, output = tmp_path / "in", tmp_path / "out"
        source.mkdir()
        for name in ("0000", "0003"):
            shutil.copy(tweets / "day=0" / f"{name}.parquet", source)
        shutil.copy(tweets / "large.parquet", source / "poison.parquet")
        given = arguments(bundle, source, output, "--on", "ray", "--on-error", on_error, "--json")
        killed = 0
        with driver(ray, given) as process:
            while process.poll() is None:
                killed += sum(kill(pid) for pid in ray.workers() if is_open(pid, source / "poison.parquet"))
                time.sleep(0.001)
            out, err = process.communicate(timeout=PATIENCE)
        assert killed > RETRIES
        (line,) = err.splitlines()
        assert "poison.parquet: the workers that scored it died 4 times" in line
        if on_error == "fail":
            assert process.returncode == 95
            return
        assert process.returncode == 15
        assert json.loads(out)["rows"] == 2 * ROWS
        assert sorted(path.name for path in outputs(output)) == ["0000.parquet", "0003.parquet"]
        assert main(arguments(bundle, source, output, "--resume")) == 0  # it was not the file
        assert main(["verify", str(output)]) == 0


def is_open(pid: int, file: Path) -> bool:
    """Whether a process has a file open."""
    with contextlib.suppress(OSError):
        return str(file) in (os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir())
    return False


def hidden(folder: Path) -> list[Path]:
    """Leftover files that no run needs."""
    return [path for path in folder.rglob("*") if path.name.startswith(".") or path.name.endswith(".tmp")]


def outputs(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.parquet") if path.is_file()]


def test_output_whose_last_parts_come_together_is_assembled_once() -> None:
    """The first assembly removes the parts, so a second one would fail."""
    cluster: Any = SimpleNamespace(workers=2)
    drive: Any = RayDrive(cluster)
    drive._run = SimpleNamespace(parts=lambda file: "all parts", plan=SimpleNamespace(files=["file"]))
    for _ in range(2):
        drive._assemble(1)
    assert [[item.number for item in task] for task in drive._waiting] == [[1]]


class TestUserErrors:
    @pytest.mark.parametrize(
        ("more", "code", "message"),
        [
            (("--on", "spork"), 2, "no such engine"),
            (("--workers", "2"), 2, "--workers applies only to a cluster"),
            (("--on", "ray", "--threads", "2"), 2, "--threads applies only to this machine"),
            (("--on", "ray", "--gpus-per-worker", "1.5"), 2, "a whole number"),
            (("--on", "ray", "--gpus-per-worker", "1", "--provider", "cpu"), 2, "cannot be combined"),
            (("--on", "ray://127.0.0.1:9"), 91, "no Ray cluster answers at ray://127.0.0.1:9"),
        ],
    )
    def test_errors_before_connecting(
        self,
        tweets: Path,
        bundle: str,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        more: tuple[str, ...],
        code: int,
        message: str,
    ) -> None:
        given = ["score", "--model", bundle, str(tweets), "-o", f"{tmp_path / 'out'}/", *more]
        assert main(given) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("more", "code", "message"),
        [
            (("--workers", "3"), 93, "3 workers were requested, but the cluster has room for 2: 2 CPUs"),
            (("--provider", "auto", "--gpus-per-worker", "0.5"), 93, "the cluster has 2 CPUs and 0 GPUs"),
            (("-o", "-"), 2, "--on needs inputs that can be read again and outputs that are kept"),
        ],
    )
    def test_cluster_errors(
        self,
        ray: LocalRay,
        tweets: Path,
        bundle: str,
        tmp_path: Path,
        more: tuple[str, ...],
        code: int,
        message: str,
    ) -> None:
        given = arguments(bundle, tweets / "a.csv", tmp_path / "out", "--on", "ray", *more)
        with driver(ray, given) as process:
            assert message in refused(process, code)
        assert not (tmp_path / "out").exists()

    def test_different_versions(self, ray: LocalRay, tweets: Path, bundle: str, tmp_path: Path) -> None:
        """The driver reports a wrong sentstream version."""
        script = "import sys, sentstream; sentstream.__version__ = '0.0.9'"
        script += "; from sentstream.cli import main; sys.exit(main())"
        given = arguments(bundle, tweets / "a.csv", tmp_path / "out", "--on", "ray")
        with driver(ray, given, program=("-c", script)) as process:
            line = refused(process, 92)
        assert re.search(
            r"the machine .* has sentstream [\d.]+, not 0\.0\.9 \(install the same versions", line
        )

    def test_input_only_visible_to_the_driver(
        self, ray: LocalRay, tweets: Path, bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tweets)
        given = arguments(bundle, "/proc/self/cwd/day=0", tmp_path / "out", "--on", "ray")
        with driver(ray, given) as process:
            line = refused(process, 94)
        assert "/proc/self/cwd/day=0/0000.parquet" in line
        assert "a shared file system, s3://" in line
        assert not outputs(tmp_path)

    def test_output_only_visible_to_the_driver(self, tmp_path: Path) -> None:
        with pytest.raises(ClusterPathError, match="out is not the directory that the driver writes to"):
            check_visibility([], Guard(LocalStorage(), str(tmp_path / "journal")), "out", "here", patience=0)

    def test_another_model(self, bundle: str, tmp_path: Path) -> None:
        other = str(make_bundle(tmp_path / "other", seed=1))
        digest = load_bundle(bundle).digest
        check_model(bundle, digest, "here")
        with pytest.raises(
            ClusterVersionError, match=f"on here: the model {other} is sha256:.*, but {digest}"
        ):
            check_model(other, digest, "here")
        with pytest.raises(ClusterPathError, match="on here: there is no model"):
            check_model(str(tmp_path / "gone"), digest, "here")

    def test_two_drivers(
        self, ray: LocalRay, tweets: Path, bundle: str, expected: dict[str, bytes], tmp_path: Path
    ) -> None:
        given = arguments(bundle, tweets, tmp_path / "out", "--on", "ray")
        with driver(ray, given) as first:
            await_workers(ray, first)
            first.send_signal(signal.SIGSTOP)  # so that it cannot end before the second one has begun
            with driver(ray, [*given, "--resume"]) as second:
                assert "is being written by another run" in output_of(second)[1]
            first.send_signal(signal.SIGCONT)
            ended(first)
        assert second.returncode == 23
        assert everything(tmp_path / "out") == expected

    def test_invalid_input(self, ray: LocalRay, tweets: Path, bundle: str, tmp_path: Path) -> None:
        """An error that only reading the file reveals."""
        source = tmp_path / "in"
        shutil.copytree(tweets / "day=1", source)
        damaged = bytearray((source / "0004.parquet").read_bytes())
        damaged[100:140] = bytes(40)
        (source / "0004.parquet").write_bytes(damaged)
        runs = []
        for on in (("--on", "ray"), ()):
            output = tmp_path / f"out{len(on)}"
            with driver(
                ray, arguments(bundle, source, output, *on, "--on-error", "skip", "--json")
            ) as process:
                out, err = output_of(process)
            assert process.returncode == 15, err
            runs.append((json.loads(out)["rows"], json.loads(out)["skipped"], everything(output)))
        assert runs[0] == runs[1]


@pytest.mark.skipif(not LONG, reason="make test-long: a cluster of its own, that kills all of its workers")
def test_out_of_memory(tweets: Path, bundle: str, tmp_path: Path) -> None:
    """Ray's memory monitor, with a tiny threshold, kills every worker."""
    given = arguments(bundle, tweets / "day=0" / "0000.parquet", tmp_path / "out", "--on", "ray")
    with local_ray(RAY_memory_usage_threshold="0.001") as cluster, driver(cluster, given) as process:
        line = refused(process, 95)
    assert "because memory ran out (use fewer workers (--workers)" in line
