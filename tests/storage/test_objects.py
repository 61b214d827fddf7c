"""Objects: complete or absent, read as they were found, despite a failing network."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faulty_proxy import Faults, faulty_proxy
from obstore.exceptions import BaseError
from processes import child, wait_until

from sentstream.errors import (
    InputError,
    InputNotFoundError,
    MissingExtraError,
    OutputBusyError,
    OutputError,
    OutputExistsError,
    OutputWriteError,
    StorageAccessError,
    StorageUnreachableError,
    UsageError,
)
from sentstream.storage import connect, objects
from sentstream.storage.lease import hold
from sentstream.storage.objects import ObjectStorage
from sentstream.storage.open import open_storage
from tools.local_stores import ACCESS_KEY, SECRET_KEY, LocalAzure, LocalS3


def options(endpoint: str, **more: str) -> dict[str, str]:
    keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "region": "us-east-1"}
    return {"endpoint": endpoint, **keys, **more}


def boto3_keys() -> dict[str, str]:
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    return {**keys, "region_name": "us-east-1"}


def storage_of(endpoint: str, bucket: str = "bucket", **more: str) -> ObjectStorage:
    storage = open_storage(f"s3://{bucket}/", options(endpoint, **more))
    assert isinstance(storage, ObjectStorage)
    return storage


pytestmark = pytest.mark.usefixtures("no_credentials")


@pytest.fixture(name="folder")
def _folder(s3: LocalS3, request: pytest.FixtureRequest) -> str:
    """A prefix for this test."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    (s3.folder / "bucket" / name).mkdir()
    return name


@pytest.fixture(name="storage")
def _storage(s3: LocalS3) -> ObjectStorage:
    return storage_of(s3.endpoint)


def write(storage: ObjectStorage, name: str, data: bytes, *, overwrite: bool = False) -> None:
    with storage.create(name, overwrite=overwrite) as file:
        file.write(data)


class TestWriting:
    @pytest.mark.parametrize("size", [0, 1, 100_000])
    def test_round_trip(self, storage: ObjectStorage, folder: str, size: int) -> None:
        name, data = f"s3://bucket/{folder}/a b=é.parquet", os.urandom(size)
        storage.check_writable(name, overwrite=False)
        write(storage, name, data)
        file = storage.find(name)
        assert file is not None
        assert (file.name, file.size, file.path) == (name, size, None)
        with file.open() as handle:
            assert handle.read() == data
        file.check()
        assert pickle.loads(pickle.dumps(file)) == file

    def test_nothing_visible_before_the_end(self, s3: LocalS3, storage: ObjectStorage, folder: str) -> None:
        below = s3.folder / "bucket" / folder
        with storage.create(f"s3://bucket/{folder}/a", overwrite=False) as file:
            file.write(b"a")
            assert not list(below.iterdir())
        assert [path.name for path in below.iterdir()] == ["a"]

    def test_nothing_left_after_an_error(self, s3: LocalS3, storage: ObjectStorage, folder: str) -> None:
        with (
            contextlib.suppress(ZeroDivisionError),
            storage.create(f"s3://bucket/{folder}/a", overwrite=False) as file,
        ):
            file.write(b"a" * 1000)
            raise ZeroDivisionError
        assert not list((s3.folder / "bucket" / folder).iterdir())

    def test_existing_object(self, storage: ObjectStorage, folder: str) -> None:
        name = f"s3://bucket/{folder}/a"
        write(storage, name, b"first")
        with pytest.raises(OutputExistsError, match="already exists"):
            storage.check_writable(name, overwrite=False)
        with pytest.raises(OutputExistsError, match="was created by something else in the meantime"):
            write(storage, name, b"second")
        write(storage, name, b"third", overwrite=True)
        file = storage.find(name)
        assert file is not None
        assert file.open().read() == b"third"
        storage.remove(name)
        storage.remove(name)
        assert storage.find(name) is None

    def test_thousands_of_outputs_take_few_requests(
        self, s3: LocalS3, storage: ObjectStorage, folder: str
    ) -> None:
        write(storage, f"s3://bucket/{folder}/out/77.parquet", b"")
        faults = Faults()
        with faulty_proxy(s3.endpoint, faults) as endpoint:
            behind = storage_of(endpoint)
            names = [f"s3://bucket/{folder}/out/{number}.parquet" for number in range(500)]
            for name in names:
                if "77" not in name:
                    behind.check_writable(name, overwrite=False)
            with pytest.raises(OutputExistsError, match=r"out/77\.parquet already exists"):
                behind.check_writable(names[77], overwrite=False)
        assert len(faults.seen) <= 4

    def test_large_objects_use_multipart_uploads(
        self, s3: LocalS3, storage: ObjectStorage, folder: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(objects, "_ONE_REQUEST", 1 << 20)
        monkeypatch.setattr(objects, "_PART", 5 << 20)
        name, data = f"s3://bucket/{folder}/large", os.urandom(12 << 20)
        faults = Faults(every=3)
        with faulty_proxy(s3.endpoint, faults) as endpoint:
            write(storage_of(endpoint), name, data)
        assert sum("partNumber=" in path for _, path in faults.seen) >= 3
        assert (s3.folder / "bucket" / folder / "large").read_bytes() == data
        assert not s3.uploads()
        with pytest.raises(OutputExistsError):
            write(storage, name, data)

    def test_failed_multipart_upload_is_aborted(
        self, s3: LocalS3, folder: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(objects, "_ONE_REQUEST", 1 << 20)
        monkeypatch.setattr(objects, "_PART", 5 << 20)
        faults = Faults(refuse="partNumber=2")
        with faulty_proxy(s3.endpoint, faults) as endpoint, pytest.raises(OutputWriteError, match="denied"):
            write(storage_of(endpoint), f"s3://bucket/{folder}/large", os.urandom(12 << 20))
        assert not list((s3.folder / "bucket" / folder).iterdir())
        assert not s3.uploads()

    def test_disk_full_for_a_copy(self, storage: ObjectStorage, folder: str) -> None:
        with (
            pytest.raises(OutputWriteError, match=r"cannot be written: .*: No space.*TMPDIR"),
            storage.create(f"s3://bucket/{folder}/a", overwrite=False),
        ):
            raise OSError(28, os.strerror(28))

    def test_killed_during_an_upload(self, s3: LocalS3, folder: str) -> None:
        faults = Faults(stall=60)
        with faulty_proxy(s3.endpoint, faults) as endpoint:
            script = (
                "import sys, json\n"
                "from sentstream.storage.open import open_storage\n"
                "name, options = sys.argv[1], json.loads(sys.argv[2])\n"
                "with open_storage(name, options).create(name, overwrite=True) as file:\n"
                "    file.write(bytes(1 << 20))\n"
            )
            name = f"s3://bucket/{folder}/a"
            command = [sys.executable, "-c", script, name, json.dumps(options(endpoint))]
            with child(command) as process:
                wait_until(lambda: faults.held, "an upload is under way")
                process.kill()
                assert process.wait() == -signal.SIGKILL
        assert not list((s3.folder / "bucket" / folder).iterdir())
        assert not s3.uploads()

    @pytest.mark.parametrize("cleaned", ["large", ""])
    def test_leftover_multipart_upload_is_removed(
        self, s3: LocalS3, storage: ObjectStorage, folder: str, cleaned: str
    ) -> None:
        import boto3

        client = boto3.client("s3", endpoint_url=s3.endpoint, **boto3_keys())
        for name in ("large", "other"):
            client.create_multipart_upload(Bucket="bucket", Key=f"{folder}/{name}")
        storage.clean([f"s3://bucket/{folder}/{cleaned}"])
        left = client.list_multipart_uploads(Bucket="bucket", Prefix=folder).get("Uploads", [])
        assert [upload["Key"] for upload in left] == ([f"{folder}/other"] if cleaned else [])
        storage.clean([f"s3://bucket/{folder}/"])
        assert not s3.uploads()


class TestNetwork:
    @pytest.mark.parametrize("every", [2, 3, 7])
    def test_intermittent_failures(self, s3: LocalS3, folder: str, every: int) -> None:
        """Writes happen once, reads are correct, listings are complete."""
        faults = Faults(every=every)
        with faulty_proxy(s3.endpoint, faults) as endpoint:
            storage = storage_of(endpoint)
            written = {f"s3://bucket/{folder}/{number}": os.urandom(300_000) for number in range(12)}
            for name, data in written.items():
                write(storage, name, data)
            storage.check_writable(f"s3://bucket/{folder}/new", overwrite=False)
            for _ in range(6):
                assert len(list(storage.walk(f"s3://bucket/{folder}"))) == 12
                assert storage.is_directory(f"s3://bucket/{folder}")
            with storage.lock(f"s3://bucket/{folder}/_sentstream/lock", "out"):
                pass
            for name, file in ((file.name, file) for _, file in storage.walk(f"s3://bucket/{folder}")):
                with file.open() as handle:
                    assert handle.read() == written.pop(name)
                file.check()
            assert not written
        assert set(faults.injected) == {"busy", "lost", "cut"}

    def test_temporary_outage(self, s3: LocalS3, folder: str) -> None:
        faults = Faults(down=True)
        with faulty_proxy(s3.endpoint, faults) as endpoint:
            back = threading.Timer(10, lambda: setattr(faults, "down", False))
            back.start()
            write(storage_of(endpoint), f"s3://bucket/{folder}/a", b"a")
            back.join()
        assert (s3.folder / "bucket" / folder / "a").read_bytes() == b"a"

    def test_permanent_outage(self, s3: LocalS3, storage: ObjectStorage, folder: str) -> None:
        name = f"s3://bucket/{folder}/a"
        write(storage, name, b"a" * 100)
        faults = Faults()
        with faulty_proxy(s3.endpoint, faults) as endpoint:
            away = storage_of(endpoint, retry_timeout="1")
            file = away.find(name)
            faults.down = True
        assert file is not None
        for use in (
            lambda: away.find(name),
            lambda: file.open().read(),
            lambda: write(away, name, b"b", overwrite=True),
            lambda: list(away.walk(f"s3://bucket/{folder}")),
        ):
            with pytest.raises(StorageUnreachableError, match=f"{folder}.* cannot be .*: no ") as caught:
                use()
            assert "\n" not in str(caught.value)
            assert caught.value.exit_code == 81


class TestReading:
    def test_walk_order_matches_directories(self, storage: ObjectStorage, folder: str) -> None:
        for name in ("b", "a/z", "a/b/c", "a-b", "_x", ".y", "a/_SUCCESS", "_temporary/a"):
            write(storage, f"s3://bucket/{folder}/{name}", b"")
        assert storage.is_directory(f"s3://bucket/{folder}/a")
        assert not storage.is_directory(f"s3://bucket/{folder}/b")
        assert storage.find(f"s3://bucket/{folder}/a") is None
        below = [name for name, _ in storage.walk(f"s3://bucket/{folder}/")]
        assert below == ["a-b", "b", "a/z", "a/b/c"]
        everything = {name for name, _ in storage.walk(f"s3://bucket/{folder}", hidden=True)}
        assert everything - set(below) == {"_x", ".y", "a/_SUCCESS", "_temporary/a"}

    @pytest.mark.parametrize(
        ("data", "method"), [(b"b" * 3_000_000, "changed"), (b"b", "shrank"), (b"b" * 3_000_001, "grew")]
    )
    def test_object_changes_while_reading(
        self, storage: ObjectStorage, folder: str, data: bytes, method: str
    ) -> None:
        name = f"s3://bucket/{folder}/a"
        write(storage, name, b"a" * 3_000_000)
        file = storage.find(name)
        assert file is not None
        with file.open() as handle:
            handle.read(10)
            write(storage, name, data, overwrite=True)
            handle.seek(2_500_000)
            with pytest.raises(InputError, match=f"{method}.* while it was read"):
                handle.read(10)
        with pytest.raises(InputError, match=f"{method}.* while it was read"):
            file.check()
        storage.remove(name)
        with pytest.raises(InputError, match="disappeared"):
            file.check()

    def test_each_byte_is_read_once(self, s3: LocalS3, storage: ObjectStorage, folder: str) -> None:
        """No byte is fetched twice, however a reader seeks."""
        table = pa.table(
            {f"c{index}": pa.array(os.urandom(2000).hex() for _ in range(500)) for index in range(9)}
        )
        pq.write_table(table, s3.folder / "bucket" / folder / "a.parquet", row_group_size=100)
        faults = Faults()
        with faulty_proxy(s3.endpoint, faults) as endpoint:
            file = storage_of(endpoint).find(f"s3://bucket/{folder}/a.parquet")
            assert file is not None
            with file.open() as handle:
                assert pq.read_table(pa.PythonFile(handle)).equals(table)
            with file.open() as handle, pq.ParquetFile(handle, pre_buffer=False) as opened:
                assert sum(len(batch) for batch in opened.iter_batches(10)) == 500
        assert len([1 for method, _ in faults.seen if method == "GET"]) <= -(-file.size // (1 << 20)) + 1


class TestRejected:
    def test_no_such_bucket(self, s3: LocalS3) -> None:
        storage = storage_of(s3.endpoint, "nobody")
        assert storage.find("s3://nobody/a") is None
        with pytest.raises(InputNotFoundError, match=r"s3://nobody/a .*no such bucket"):
            storage.is_directory("s3://nobody/a")
        with pytest.raises(OutputWriteError, match="there is no such bucket"):
            storage.check_writable("s3://nobody/a", overwrite=False)

    @pytest.mark.parametrize("wrong", ["access_key_id", "secret_access_key"])
    def test_wrong_credentials(self, s3: LocalS3, wrong: str) -> None:
        storage = storage_of(s3.endpoint, **{wrong: "wrong"})
        for use in (
            lambda: storage.is_directory("s3://bucket/a"),
            lambda: list(storage.walk("s3://bucket/a")),
            lambda: storage.check_writable("s3://bucket/a", overwrite=False),
            lambda: write(storage, "s3://bucket/a", b"a"),
        ):
            with pytest.raises(StorageAccessError, match="rejects the credentials"):
                use()

    def test_no_credentials(self, s3: LocalS3) -> None:
        with pytest.raises(StorageAccessError, match=r"no credentials.*aws configure.*skip_signature"):
            open_storage("s3://bucket/a", {"endpoint": s3.endpoint})

    def test_access_denied(self, s3: LocalS3) -> None:
        storage = open_storage("s3://bucket/", {"endpoint": s3.endpoint, "skip_signature": "true"})
        with pytest.raises(InputError, match="access is denied"):
            storage.is_directory("s3://bucket/a")
        with pytest.raises(OutputError, match="access is denied"):
            write(storage, "s3://bucket/a", b"a")  # type: ignore[arg-type]

    def test_invalid_settings(self, s3: LocalS3) -> None:
        for key, value in (("nonsense", "1"), ("timeout", "soon"), ("retry_timeout", "soon")):
            with pytest.raises(UsageError, match=f"{key}|{value}"):
                storage_of(s3.endpoint, **{key: value})
        with pytest.raises(UsageError, match="has no bucket"):
            open_storage("s3:///a")
        with pytest.raises(UsageError, match="no storage account"):
            open_storage("abfs://tweets/a")

    def test_aws_profile(self, s3: LocalS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The files of ``aws configure`` are used, with the region and the address."""
        (tmp_path / "credentials").write_text(
            f"[tweets]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        )
        (tmp_path / "config").write_text(
            f"[profile tweets]\nregion = us-east-1\nendpoint_url = {s3.endpoint}\n"
        )
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        for given in ({"profile": "tweets"}, {"AWS_PROFILE": "tweets"}):
            for name, value in given.items():
                if name.isupper():
                    monkeypatch.setenv(name, value)
            settings = {} if "AWS_PROFILE" in given else given
            storage = open_storage("s3://bucket/", {"s3.allow_http": "true", **settings})
            assert storage.is_directory("s3://bucket/")


class TestLease:
    def test_one_holder(self, s3: LocalS3, storage: ObjectStorage, folder: str) -> None:
        name = f"s3://bucket/{folder}/_sentstream/lock"
        with storage.lock(name, "out"):
            assert storage.find(name) is not None
            with pytest.raises(OutputBusyError, match=f"out is being written by process {os.getpid()} on"):
                storage.lock(name, "out").__enter__()
        assert storage.find(name) is None
        with storage.lock(name, "out"):
            pass

    def test_one_of_many_wins(self, storage: ObjectStorage, folder: str) -> None:
        name = f"s3://bucket/{folder}/_sentstream/lock"
        start, end = threading.Barrier(8), threading.Barrier(8)

        def take(_: int) -> bool:
            start.wait()
            try:
                with hold(storage, name, "out", renewed=0.2, lasts=60):
                    end.wait()
                    return True
            except OutputBusyError:
                end.wait()
                return False

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, range(8))) == 1

    def test_killed_holder_is_detected_at_once(self, storage: ObjectStorage, folder: str) -> None:
        name = f"s3://bucket/{folder}/_sentstream/lock"
        script = (
            "import sys, json, time\n"
            "from sentstream.storage.open import open_storage\n"
            "name, options = sys.argv[1], json.loads(sys.argv[2])\n"
            "with open_storage(name, options).lock(name, 'out'):\n"
            "    time.sleep(600)\n"
        )
        with child([sys.executable, "-c", script, name, json.dumps(dict(storage.options))]) as process:
            wait_until(lambda: storage.find(name), "the lease is there")
            with pytest.raises(OutputBusyError, match=f"process {process.pid}"):
                storage.lock(name, "out").__enter__()
            process.kill()
            process.wait()
            started = time.monotonic()
            with hold(storage, name, "out", lasts=600):
                pass
            assert time.monotonic() - started < 300  # not by waiting for its end
        assert storage.find(name) is None

    def test_lease_of_another_machine_expires(self, storage: ObjectStorage, folder: str) -> None:
        name = f"s3://bucket/{folder}/_sentstream/lock"
        write(storage, name, json.dumps({"host": "elsewhere", "boot": "x", "pid": 1, "token": "t"}).encode())
        with hold(storage, name, "out", lasts=1):
            file = storage.find(name)
            assert file is not None
            assert b"elsewhere" not in file.open().read()

    def test_lease_of_another_machine_is_respected(self, storage: ObjectStorage, folder: str) -> None:
        name = f"s3://bucket/{folder}/_sentstream/lock"
        stop = threading.Event()

        def renew() -> None:
            number = 0
            while not stop.wait(0.1):
                number += 1
                about = {"host": "elsewhere", "boot": "x", "pid": 1, "token": "t", "renewal": number}
                write(storage, name, json.dumps(about).encode(), overwrite=True)

        thread = threading.Thread(target=renew)
        thread.start()
        try:
            wait_until(lambda: storage.find(name))
            with pytest.raises(OutputBusyError, match="process 1 on elsewhere"):
                hold(storage, name, "out", lasts=30).__enter__()
        finally:
            stop.set()
            thread.join()

    def test_lost_lease_prevents_publishing(self, s3: LocalS3, storage: ObjectStorage, folder: str) -> None:
        name = f"s3://bucket/{folder}/out/_sentstream/lock"
        lease = hold(storage, name, "out", renewed=0.05)
        lease.__enter__()
        write(storage, name, json.dumps({"host": "elsewhere", "token": "t"}).encode(), overwrite=True)
        wait_until(lambda: not any(one.name == "lease" for one in threading.enumerate()), "it is noticed")
        with pytest.raises(OutputWriteError, match="taken over by another run"):
            write(storage, f"s3://bucket/{folder}/out/a.parquet", b"a")
        with pytest.raises(OutputWriteError, match="taken over by another run"):
            lease.__exit__(None, None, None)
        assert storage.find(f"s3://bucket/{folder}/out/a.parquet") is None
        assert storage.find(name) is not None  # the other's


def test_azure(azure: LocalAzure) -> None:
    """The same on Azure: names, tags, conditions, leases."""
    root = "abfs://tweets"
    azure.make_container("tweets")
    storage = open_storage(f"{root}/", azure.options)
    assert isinstance(storage, ObjectStorage)
    name = f"{root}/day=1/a b.parquet"
    write(storage, name, b"a" * 3_000_000)
    with pytest.raises(OutputExistsError):
        write(storage, name, b"b")
    ((below, file),) = storage.walk(root)
    assert (below, file) == ("day=1/a b.parquet", storage.find(name))
    with file.open() as handle:
        assert handle.read(10) == b"a" * 10
        write(storage, name, b"b" * 3_000_000, overwrite=True)
        handle.seek(-10, os.SEEK_END)
        with pytest.raises(InputError, match="changed while it was read"):
            handle.read(10)
    with storage.lock(f"{root}/_sentstream/lock", "out"), pytest.raises(OutputBusyError):
        storage.lock(f"{root}/_sentstream/lock", "out").__enter__()
    with pytest.raises(InputNotFoundError, match="no such bucket"):
        open_storage("abfs://nobody/", azure.options).is_directory("abfs://nobody/a")
    wrong = {**azure.options, "account_key": "d3Jvbmc="}
    with pytest.raises(StorageAccessError):
        open_storage(f"{root}/", wrong).is_directory(f"{root}/day=1")


@pytest.mark.parametrize(
    ("uri", "module", "extra"),
    [
        ("s3://bucket/a", "obstore", "cloud"),
        ("s3://bucket/a", "boto3", "cloud"),
        ("https://localhost/a", "obstore", "cloud"),
        ("ftp://localhost/a", "fsspec", "fsspec"),
    ],
)
def test_missing_package(uri: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as where it is not
    with pytest.raises(MissingExtraError, match=f"{module}, which is not installed") as caught:
        open_storage(uri, {"endpoint": "http://127.0.0.1:9"} if uri.startswith("s3") else {}).find(uri)
    assert f"[{extra}]" in (caught.value.hint or "")


class TestGivingUp:
    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connect, "_AT_THE_END", 0.1)

    def test_waiting_and_later_requests_are_ended(self) -> None:
        never, ended = threading.Event(), []

        def wait() -> None:
            try:
                connect.waiting(never.wait)
            except StorageUnreachableError as error:
                ended.append(error.message)

        with connect.limiting_retries():
            thread = threading.Thread(target=wait)
            thread.start()
            connect.give_up_soon()
            connect.give_up_soon()  # once more is no more time
            thread.join()
            assert ended == ["interrupted"]
            with pytest.raises(StorageUnreachableError, match="interrupted"):
                connect.waiting(never.wait)
            assert connect.seconds_left() == 0
            with pytest.raises(BaseError):
                connect.Tries(()).wait(BaseError("error sending request"))
        never.set()

    def test_limit_ends_with_the_run(self) -> None:
        with connect.limiting_retries():
            connect.give_up_soon()
        assert connect.seconds_left() is None
        assert connect.waiting(lambda: "an answer") == "an answer"

    def test_errors_of_the_call_pass_through(self) -> None:
        def late() -> None:
            raise TimeoutError("its own")

        with connect.limiting_retries():
            connect.give_up_soon()
            with pytest.raises(TimeoutError, match="its own"):
                connect.waiting(late)
