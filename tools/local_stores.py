"""Real object stores on this machine, without Docker, for the tests and the benchmarks.

As a script it starts an S3 server on a folder, prints what to export, and runs until Ctrl-C:

    python -m tools.local_stores FOLDER
    python -m tools.local_stores --fetch    # builds and fetches, as before the tests

As a module:

    with LocalS3(bucket="tweets") as store:
        boto3.client("s3", endpoint_url=store.endpoint, …)

S3 is versitygw, built the first time into ``build/`` with Go 1.25 or newer (minutes). Azure is Azurite,
Microsoft's own emulator, fetched the first time with npm. Both listen only on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Self

from tools.fetched import Unavailable, go_program, npm_file

VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
AZURITE = "azurite@3.37.0"
#: Below the ephemeral ports, as in tools/local_kafka.py.
_FIRST_PORT, _LAST_PORT = 15000, 32000
_START_TIMEOUT = 120.0
ACCESS_KEY, SECRET_KEY = "local", "local-secret"
#: The well-known credentials from Azurite's documentation; they are not secret.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class _Store:
    """A server on a folder, which is removed with it if it is temporary."""

    def __init__(self, folder: Path, *, temporary: bool) -> None:
        self.folder, self._temporary = folder, temporary
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._server is not None
        return self._server.port

    def _start(self, command: list[str], environment: dict[str, str]) -> None:
        try:
            self._server = _Server(command, environment, self.folder)
        except BaseException:
            self._remove()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        self._remove()

    def _remove(self) -> None:
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)


class LocalS3(_Store):
    """An S3 server on a folder, started by ``with``; buckets are subfolders.

    Args:
        folder: Where the objects are; by default a temporary folder, removed at the end.
        bucket: A bucket to create.
        log: A file for one line per request, in the format of S3's own access logs.

    Attributes:
        folder: Where the objects are.
    """

    def __init__(
        self, folder: Path | None = None, bucket: str = "bucket", *, log: Path | None = None
    ) -> None:
        directory = Path(tempfile.mkdtemp(prefix="sentstream-s3-")) if folder is None else folder
        super().__init__(directory, temporary=folder is None)
        self.bucket, self._log = bucket, log

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that clients need."""
        return credentials(self.endpoint)

    def uploads(self) -> list[str]:
        """The keys of multipart uploads that were neither completed nor aborted."""
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
        )
        buckets = [path.name for path in self.folder.iterdir() if not path.name.startswith(".")]
        pages = [client.list_multipart_uploads(Bucket=bucket) for bucket in buckets]
        return [upload["Key"] for page in pages for upload in page.get("Uploads", ())]

    def __enter__(self) -> Self:
        (self.folder / self.bucket).mkdir(parents=True, exist_ok=True)
        logging = [] if self._log is None else ["--access-log", str(self._log)]
        command = [str(versitygw()), "--port", "127.0.0.1:{port}", "--quiet", *logging]
        command += ["posix", str(self.folder)]
        self._start(command, {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY})
        return self


class LocalAzure(_Store):
    """An Azure Blob Storage server, started by ``with``; its data is in memory."""

    def __init__(self) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="sentstream-azure-")), temporary=True)

    @property
    def endpoint(self) -> str:
        """Its address, including the account."""
        return f"http://127.0.0.1:{self.port}/{AZURE_ACCOUNT}"

    @property
    def options(self) -> dict[str, str]:
        """The options that obstore needs."""
        return {"endpoint": self.endpoint, "account_name": AZURE_ACCOUNT, "account_key": AZURE_KEY}

    def make_container(self, name: str) -> None:
        """Create a container, unless it exists."""
        date = formatdate(usegmt=True)
        headers = {"x-ms-date": date, "x-ms-version": "2021-12-02"}
        # https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
        canonical = "".join(f"{key}:{value}\n" for key, value in sorted(headers.items()))
        resource = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{name}\nrestype:container"
        signed = "PUT" + 12 * "\n" + canonical + resource
        digest = hmac.digest(base64.b64decode(AZURE_KEY), signed.encode(), "sha256")
        headers["Authorization"] = f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request("PUT", f"/{AZURE_ACCOUNT}/{name}?restype=container", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status not in (201, 409):
            raise Unavailable(f"Azurite made no container {name}: {answer.status} {body.decode()}")

    def __enter__(self) -> Self:
        command = [str(azurite()), "--blobHost", "127.0.0.1", "--blobPort", "{port}", "--silent"]
        command += ["--skipApiVersionCheck", "--inMemoryPersistence"]
        self._start(command, {})
        return self


def credentials(endpoint: str) -> dict[str, str]:
    """Return the environment variables for an S3 server of this module, or for a proxy in front of it."""
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }


def versitygw() -> Path:
    """Return the path of the S3 server."""
    return go_program(VERSITYGW, "build an S3 server with")


def azurite() -> Path:
    """Return the path of the Azure server."""
    return npm_file("azurite", AZURITE, ".bin/azurite-blob", "fetch Azurite with")


class _Server:
    """A program that listens on a free port, which replaces ``{port}`` in its command."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        for _ in range(5):
            self.port = _free_port()
            with tempfile.TemporaryFile() as log:
                self._process = subprocess.Popen(
                    [word.replace("{port}", str(self.port)) for word in command],
                    env={**os.environ, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=folder,
                    process_group=0,
                )
                if self._serves():
                    return
                self.close()
                log.seek(0)
                last = log.read().decode("utf-8", "replace").strip()[-500:]
        raise Unavailable(f"{command[0]} did not start: {last}")

    def _serves(self) -> bool:
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return True
            time.sleep(0.05)
        return False

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _free_port() -> int:
    from random import SystemRandom

    while True:
        port = SystemRandom().randrange(_FIRST_PORT, _LAST_PORT)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def fetch() -> None:
    """Build and fetch both stores, and print which one is not available here; its tests report it, too."""
    for get in (versitygw, azurite):
        try:
            get()
        except Unavailable as error:
            print(f"no object store: {error}", file=sys.stderr)


def main() -> None:
    """Serve a folder as S3 until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve a folder as S3 until Ctrl-C.")
    parser.add_argument("folder", type=Path, nargs="?", help="the folder to serve")
    parser.add_argument("--fetch", action="store_true", help="only build and fetch what is needed")
    options = parser.parse_args()
    if options.fetch:
        fetch()
        return
    if options.folder is None:
        parser.error("name a folder")
    folder = options.folder.resolve()
    with LocalS3(folder) as store:
        for name, value in store.environment.items():
            print(f"export {name}={value}")
        print(f"# s3://{store.bucket}/ is {folder / store.bucket}; Ctrl-C stops it", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
