"""``sentstream score`` on object stores: the same files as on a local disk, whatever the network does."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from effort import LONG
from faulty_proxy import Faults, faulty_proxy
from processes import PATIENCE, child, wait_until

from sentstream.cli import main
from sentstream.dataset import planner, score_plan
from sentstream.dataset.formats.api import Source
from sentstream.dataset.jobs import find_jobs
from sentstream.errors import InputNotFoundError, OutputExistsError, OutputWriteError, UsageError
from sentstream.storage.api import StoredFile
from tools.local_stores import LocalAzure, LocalS3

pytestmark = pytest.mark.usefixtures("no_credentials")
NAMES = ("a.parquet", "b.PARQUET", "day=1/a.parquet", "day=2/000000_0", "day=2/deep/c.pq")


@pytest.fixture(name="bundle", scope="session")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture(name="tree")
def _tree(s3_here: LocalS3, request: pytest.FixtureRequest) -> Path:
    """The folder of a bucket of the test's own, with Parquet files and others in ``in/``."""
    bucket = "".join(letter if letter.isalnum() else "-" for letter in request.node.name.lower()).strip("-")
    folder = s3_here.folder / bucket[:60].rstrip("-")  # names of buckets are short
    for index, name in enumerate(NAMES):
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = range(1000 * index, 1000 * (index + 1))
        pq.write_table(pa.table({"id": rows, "text": [f"tweet {row} good" for row in rows]}), path)
    for name in ("_SUCCESS", "_temporary/x.parquet", "notes.txt", "old.scored.parquet", "README"):
        (folder / "in" / name).parent.mkdir(exist_ok=True)
        (folder / "in" / name).write_bytes(b"not to be read")
    return folder


def run(bundle: str, *arguments: str) -> int:
    return main(["score", "--model", bundle, "--provider", "cpu", "--threads", "1", *arguments])


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def contents(folder: Path) -> dict[str, bytes]:
    """The files below a folder, without a manifest, which names them."""
    return {name: data for name, data in everything(folder).items() if not name.startswith("_sentstream/")}


def pairs(*inputs: str, output: str | None = None) -> dict[str, str]:
    with find_jobs(inputs, output, overwrite=False) as jobs:
        return {job.name: job.shown_target for job in jobs}


class TestNames:
    def test_prefix(self, tree: Path) -> None:
        root = f"s3://{tree.name}"
        for given in (f"{root}/in", f"{root}/in/"):
            assert pairs(given) == {f"{root}/in/{name}": f"{root}/in.scored/{name}" for name in NAMES}
        lines: list[str] = []
        with find_jobs([f"{root}/in"], f"{root}/out/", overwrite=False, warn=lines.append) as jobs:
            assert (jobs.directory, [job.relative for job in jobs]) == (f"{root}/out/", list(NAMES))
            assert [job.output for job in jobs] == [jobs.storage.join(f"{root}/out/", name) for name in NAMES]
            assert all(job.target is None and not job.is_stream for job in jobs)
        assert lines == [f"{root}/in: files skipped for lack of a known suffix: README, notes.txt"]

    def test_object(self, tree: Path, tmp_path: Path) -> None:
        root = f"s3://{tree.name}"
        given = f"{root}/in/a.parquet"
        assert pairs(given) == {given: f"{root}/in/a.scored.parquet"}
        assert pairs(given, output=f"{root}/out/") == {given: f"{root}/out/a.parquet"}
        assert pairs(given, output=f"{root}/in/day=2") == {given: f"{root}/in/day=2/a.parquet"}
        assert pairs(given, output=f"{root}/new.parquet") == {given: f"{root}/new.parquet"}
        assert pairs(given, output=f"{tmp_path}/") == {given: str(tmp_path / "a.parquet")}

    def test_prefix_or_glob_of_one_object_keeps_its_prefix(self, tree: Path) -> None:
        root = f"s3://{tree.name}"
        one = f"{root}/in/day=1/a.parquet"
        for given in (f"{root}/in/day=1", f"{root}/in/day=1/", f"{root}/in/day=1/*.parquet"):
            assert pairs(given, output=f"{root}/out") == {one: f"{root}/out/a.parquet"}
            assert pairs(given, output=f"{root}/out.parquet") == {one: f"{root}/out.parquet"}
        assert pairs(one, output=f"{root}/out") == {one: f"{root}/out"}

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("in/*.parquet", ["a.parquet"]),
            ("in/day=*", ["day=1/a.parquet", "day=2/000000_0", "day=2/deep/c.pq"]),
            ("in/**/*.p*q*", ["a.parquet", "day=1/a.parquet", "day=2/deep/c.pq", "_temporary/x.parquet"]),
            ("in/[ab].*", ["a.parquet", "b.PARQUET"]),
            ("in/*/[!b].parquet", ["day=1/a.parquet", "_temporary/x.parquet"]),
        ],
    )
    def test_globs_match_local_ones(self, tree: Path, pattern: str, expected: list[str]) -> None:
        target = {name.removeprefix(f"s3://{tree.name}/in/") for name in pairs(f"s3://{tree.name}/{pattern}")}
        here = {name.removeprefix(f"{tree}/in/") for name in pairs(f"{tree}/{pattern}")}
        assert target == here == {*expected}

    def test_output_inside_the_input_is_not_read(self, tree: Path) -> None:
        root = f"s3://{tree.name}"
        assert list(pairs(f"{root}/in", output=f"{root}/in/day=2/")) == [
            f"{root}/in/{name}" for name in NAMES if "day=2" not in name
        ]

    def test_rejected_options(self, tree: Path) -> None:
        root = f"s3://{tree.name}"
        given = f"{root}/in/a.parquet"
        with pytest.raises(OutputExistsError, match="is an input"):
            pairs(given, output=given)
        with pytest.raises(UsageError, match="is given twice"):
            pairs(given, f"{root}/in")
        with pytest.raises(UsageError, match="5 inputs for one output"):
            pairs(f"{root}/in", output=f"{root}/x.parquet")
        with pytest.raises(UsageError, match="no default output for the root directory"):
            pairs(f"{root}/")
        with pytest.raises(InputNotFoundError, match="does not exist"):
            pairs(f"{root}/in/nope.parquet")
        with pytest.raises(InputNotFoundError, match=r"no file matches .*/in/nope\*"):
            pairs(f"{root}/in/nope*")
        with pytest.raises(InputNotFoundError, match="no such bucket"):
            pairs("s3://nobody/in")
        with pytest.raises(OutputWriteError, match="no such bucket"):
            pairs(given, output="s3://nobody/out/")
        with pytest.raises(OutputWriteError, match="is read-only"):
            pairs(given, output="https://localhost/out/")


class TestPlanning:
    def test_footers_are_read_several_at_a_time(
        self, tree: Path, bundle: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each waits until four are being read: one after another, none would ever be."""
        together = threading.Barrier(4)
        original = planner.open_source

        def waiting(*arguments: Any, **options: Any) -> Source:
            together.wait(PATIENCE)
            return original(*arguments, **options)

        monkeypatch.setattr(planner, "open_source", waiting)
        for name in NAMES[:3]:
            (tree / "in" / name).with_suffix(".copy.parquet").write_bytes((tree / "in" / name).read_bytes())
        assert run(bundle, f"s3://{tree.name}/in", "--dry-run") == 0

    @pytest.mark.parametrize("skip", [False, True])
    def test_errors_are_in_file_order(
        self,
        tree: Path,
        bundle: str,
        skip: bool,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Whichever comes first."""
        for name in (NAMES[1], NAMES[4]):
            (tree / "in" / name).write_bytes(b"PAR1 and nothing else")
        later = threading.Event()
        original = planner.open_source

        def ordered(file: StoredFile, *arguments: Any, **options: Any) -> Source:
            if file.name.endswith(NAMES[1]):
                assert later.wait(PATIENCE)
            try:
                return original(file, *arguments, **options)
            finally:
                if file.name.endswith(NAMES[4]):
                    later.set()

        monkeypatch.setattr(planner, "open_source", ordered)
        options = ("--on-error", "skip", "--json") if skip else ()
        assert run(bundle, f"s3://{tree.name}/in", *options) == (15 if skip else 11)
        shown = capsys.readouterr()
        if skip:
            names = [item["input"] for item in json.loads(shown.out)["skipped"]]
            assert names == [f"s3://{tree.name}/in/{NAMES[1]}", f"s3://{tree.name}/in/{NAMES[4]}"]
        assert f"s3://{tree.name}/in/{NAMES[1]} is truncated" in shown.err


class TestScoring:
    def test_same_bytes_over_a_faulty_network(
        self, tree: Path, s3: LocalS3, bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(bundle, str(tree / "in"), "-o", str(tmp_path / "local")) == 0
        faults = Faults(every=7)
        with faulty_proxy(s3.endpoint, faults) as endpoint:
            options = ("--storage-option", f"s3.endpoint={endpoint}")
            assert (
                run(bundle, f"s3://{tree.name}/in/", "-o", f"s3://{tree.name}/out/", *options, "--json") == 0
            )
        assert set(faults.injected) == {"busy", "lost", "cut"}
        assert contents(tree / "out") == contents(tmp_path / "local")
        report = json.loads(capsys.readouterr().out)
        assert report["rows"] == 5000
        assert report["outputs"][0] == {
            "input": f"s3://{tree.name}/in/a.parquet",
            "output": f"s3://{tree.name}/out/a.parquet",
            "rows": 1000,
        }
        assert not s3.uploads()

    def test_local_to_remote_and_back(self, tree: Path, bundle: str, tmp_path: Path) -> None:
        target = f"s3://{tree.name}/new.parquet"
        assert run(bundle, str(tree / "in/a.parquet"), "-o", target) == 0
        assert run(bundle, f"s3://{tree.name}/in/a.parquet", "-o", f"{tmp_path}/a.parquet") == 0
        assert (tree / "new.parquet").read_bytes() == (tmp_path / "a.parquet").read_bytes()

    def test_temporary_network_outage(self, tree: Path, s3: LocalS3, bundle: str) -> None:
        faults = Faults()
        with faulty_proxy(s3.endpoint, faults) as endpoint:
            lost, back = _outage(faults, after=12, seconds=10)
            code = run(bundle, f"s3://{tree.name}/in", "--storage-option", f"endpoint={endpoint}")
            lost.join()
            back.join()
        assert code == 0
        assert len(contents(tree / "in.scored")) == len(NAMES)

    def test_permanent_network_outage(
        self, tree: Path, s3: LocalS3, bundle: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        faults = Faults()
        with faulty_proxy(s3.endpoint, faults) as endpoint:
            lost, _ = _outage(faults, after=30, seconds=None)
            options = ("--storage-option", f"endpoint={endpoint}", "--storage-option", "retry_timeout=1")
            code = run(bundle, f"s3://{tree.name}/in", *options)
            lost.join()
        message = capsys.readouterr().err.splitlines()[-1]
        assert code == 81, message
        assert message.startswith(f"sentstream: error: s3://{tree.name}/in")
        for path in contents(tree / "in.scored"):  # what was finished is whole
            assert pq.read_metadata(tree / "in.scored" / path).num_rows == 1000

    def test_killed_and_resumed(self, tree: Path, s3: LocalS3, bundle: str) -> None:
        """On a network that fails at any request, the result is the same as on a reliable one."""
        target = f"s3://{tree.name}"
        files, kills, limit = (200, 50, 900) if LONG else (len(NAMES), 6, 60)
        for number in range(len(NAMES), files):
            texts = [f"tweet {row} of {number}" for row in range(50)]
            pq.write_table(pa.table({"id": range(50), "text": texts}), tree / "in" / f"{number}.parquet")
        assert run(bundle, f"{target}/in", "-o", f"{target}/whole/") == 0
        killed, chance = 0, random.Random(1)
        faults = Faults(every=20)
        with faulty_proxy(s3.endpoint, faults) as endpoint:
            command = [sys.executable, "-m", "sentstream", "score", "--model", bundle, f"{target}/in"]
            command += ["-o", f"{target}/out/", "--resume", "--storage-option", f"s3.endpoint={endpoint}"]
            for number in range(kills + 1):
                until = len(faults.seen) + chance.randrange(1, limit)
                with child(command, stderr=subprocess.PIPE, text=True) as process:
                    while number < kills and process.poll() is None and len(faults.seen) < until:
                        time.sleep(0.001)
                    if number < kills:
                        process.kill()
                    output = process.communicate()[1]
                assert process.returncode in (0, -signal.SIGKILL), output
                killed += process.returncode != 0
                for name, data in contents(tree / "out").items():
                    assert data == (tree / "whole" / name).read_bytes()
        assert process.returncode == 0
        assert killed > kills // 3
        assert everything(tree / "out") == everything(tree / "whole")
        assert not s3.uploads()

    @pytest.mark.parametrize("moment", [1, 15, 40])
    def test_interrupted_during_an_outage(self, tree: Path, s3: LocalS3, bundle: str, moment: int) -> None:
        """Ctrl-C does not wait for the network."""
        faults = Faults()
        with faulty_proxy(s3.endpoint, faults) as endpoint:
            # Whoever runs the tests in the background has children that ignore it.
            heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
            script = f"{heard}; import sys; from sentstream.cli import main; sys.exit(main())"
            command = [sys.executable, "-c", script, "score", "--model", bundle, f"s3://{tree.name}/in"]
            command += ["--storage-option", f"s3.endpoint={endpoint}"]
            command += ["--storage-option", "retry_timeout=100000"]
            with child(command, stderr=subprocess.PIPE, text=True) as process:
                wait_until(lambda: len(faults.seen) >= moment or process.poll() is not None)
                faults.down = True
                count = faults.refused
                wait_until(lambda: faults.refused > count + 3 or process.poll() is not None)
                process.send_signal(signal.SIGINT)
                output = process.communicate(timeout=PATIENCE)[1]
        assert process.returncode == 130, output
        assert "Traceback" not in output
        for name in contents(tree / "in.scored"):
            assert pq.read_metadata(tree / "in.scored" / name).num_rows == 1000

    def test_input_changes_during_the_run(
        self, tree: Path, bundle: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def score(*arguments: object, **options: object) -> object:
            pq.write_table(pa.table({"id": [1], "text": ["x"]}), tree / "in" / "a.parquet")
            return score_plan(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr("sentstream.dataset.score_plan", score)
        assert run(bundle, f"s3://{tree.name}/in/a.parquet", "-o", f"s3://{tree.name}/out/a.parquet") == 10
        assert "in/a.parquet shrank" in capsys.readouterr().err
        assert not (tree / "out").exists()

    @pytest.mark.parametrize(
        ("environment", "code", "output"),
        [
            ({"AWS_SECRET_ACCESS_KEY": "wrong"}, 82, "rejects the credentials"),
            ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, 82, "no credentials"),
            ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, 81, "no connection"),
        ],
    )
    def test_user_errors(
        self,
        tree: Path,
        bundle: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        environment: dict[str, str],
        code: int,
        output: str,
    ) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        options = ("--storage-option", "retry_timeout=1")
        assert run(bundle, f"s3://{tree.name}/in", *options) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert output in line

    def test_options_from_the_environment(
        self, tree: Path, bundle: str, s3: LocalS3, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        monkeypatch.setenv(
            "SENTSTREAM_SCORE_STORAGE_OPTION", f"s3.endpoint={s3.endpoint} s3.region=us-east-1"
        )
        assert run(bundle, f"s3://{tree.name}/in/a.parquet") == 0

    def test_web_address(self, tree: Path, bundle: str, s3: LocalS3, tmp_path: Path) -> None:
        """A presigned URL: it is for GET only, and has a query."""
        import boto3
        from botocore.config import Config

        client = boto3.client("s3", config=Config(signature_version="s3v4"))
        url = client.generate_presigned_url(
            "get_object", Params={"Bucket": tree.name, "Key": "in/a.parquet"}, ExpiresIn=600
        )
        assert "?" in url
        assert run(bundle, url, "-o", f"{tmp_path}/") == 0
        assert run(bundle, str(tree / "in/a.parquet"), "-o", f"{tmp_path}/local.parquet") == 0
        assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()

    def test_azure(self, bundle: str, azure: LocalAzure, tree: Path, tmp_path: Path) -> None:
        """From a disk to Azure, and from there to S3."""
        azure.make_container("scored")
        options = [
            word
            for key, value in azure.options.items()
            for word in ("--storage-option", f"abfs.{key}={value}")
        ]
        assert run(bundle, str(tree / "in"), "-o", "abfs://scored/out/", *options) == 0
        again = ("--prefix", "again", "--columns", "id,text")
        assert run(bundle, "abfs://scored/out/", "-o", f"s3://{tree.name}/back/", *options, *again) == 0
        back = pq.read_table(tree / "back" / "day=1" / "a.parquet")
        assert back.column_names[:3] == ["id", "text", "again"]
        assert back["id"].to_pylist() == list(range(2000, 3000))


def test_fsspec_sources(bundle: str, tmp_path: Path) -> None:
    """With its file system in memory: prefixes, globs, files."""
    import fsspec

    memory = fsspec.filesystem("memory")
    for index in range(3):
        with memory.open(f"/tweets/day={index}/a.parquet", "wb") as file:
            pq.write_table(pa.table({"id": [index], "text": ["hi"]}), file)
    try:
        assert run(bundle, "memory://tweets", "-o", str(tmp_path / "out")) == 0
        assert run(bundle, "memory://tweets/day=[12]/*.parquet", "-o", str(tmp_path / "some")) == 0
        assert run(bundle, "memory://tweets/day=0/a.parquet", "-o", str(tmp_path / "one.parquet")) == 0
        assert sorted(contents(tmp_path / "out")) == [f"day={index}/a.parquet" for index in range(3)]
        assert sorted(contents(tmp_path / "some")) == ["day=1/a.parquet", "day=2/a.parquet"]
        with pytest.raises(OutputWriteError, match="is read-only"):
            pairs("memory://tweets/day=0/a.parquet")
    finally:
        memory.rm("/tweets", recursive=True)


def _outage(
    faults: Faults, *, after: int, seconds: float | None
) -> tuple[threading.Thread, threading.Thread]:
    """Cut the network after so many requests, and restore it later."""
    cut = threading.Event()

    def lose() -> None:
        while len(faults.seen) < after and not cut.wait(0.001):
            pass
        faults.down = True
        cut.set()

    def restore() -> None:
        cut.wait()
        if seconds is not None and not threading.Event().wait(seconds):
            faults.down = False

    threads = threading.Thread(target=lose), threading.Thread(target=restore)
    for thread in threads:
        thread.start()
    return threads
