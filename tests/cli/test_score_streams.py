"""``sentstream score -`` in every format: through pipes, row by row, without a temporary copy if possible."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from processes import child

from sentstream.dataset.formats.api import FORMATS, Format, Layout
from sentstream.dataset.formats.open import open_source, read_piece
from sentstream.dataset.formats.write import open_writer
from sentstream.model import Model
from sentstream.storage.local import local_file
from sentstream.storage.stream import Stream

COMMAND = [sys.executable, "-m", "sentstream", "score"]
TABLE = pa.table({"id": [str(row) for row in range(300)], "text": ["i love you", 'so "bad",\n'] * 150})
STREAMS: list[Format] = ["csv", "jsonl", "arrow-stream"]


@pytest.fixture(name="environment", scope="module")
def _environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    bundle = make_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SENTSTREAM_SCORE")}
    return {**kept, "SENTSTREAM_SCORE_MODEL": str(bundle), "SENTSTREAM_SCORE_PROVIDER": "cpu"}


def layout(format: Format) -> Layout:
    return Layout(format, None, "\t" if format == "tsv" else ",")


def packed(format: Format) -> bytes:
    file = io.BytesIO()
    with open_writer(file, TABLE.schema, layout(format), ()) as writer:
        for batch in TABLE.to_batches():
            writer.write(batch)
    return file.getvalue()


@pytest.mark.parametrize("format", FORMATS)
def test_through_pipes(tmp_path: Path, environment: dict[str, str], format: Format) -> None:
    options = ["--format", format] if format == "tsv" else []
    done = subprocess.run(
        [*COMMAND, "-", *options],
        input=packed(format),
        capture_output=True,
        env=environment,
        cwd=tmp_path,
        check=True,
    )
    path = tmp_path / "out"
    path.write_bytes(done.stdout)
    source = open_source(local_file(path), format)
    (piece,) = source.pieces()
    found = pa.Table.from_batches(list(read_piece(piece, None, 1000)))
    check(found, environment)


@pytest.mark.parametrize("format", ["csv", "orc"])  # read as it comes, and from a copy of all of it
def test_into_a_folder_in_another_format(tmp_path: Path, environment: dict[str, str], format: Format) -> None:
    (tmp_path / "scored").mkdir()
    subprocess.run(
        [*COMMAND, "-", "--output", "scored/", "--output-format", "parquet"],
        input=packed(format),
        capture_output=True,
        env=environment,
        cwd=tmp_path,
        check=True,
    )
    (file,) = (tmp_path / "scored").iterdir()
    assert file.name == "stdin.parquet"
    check(pq.read_table(file), environment)


def check(found: pa.Table, environment: dict[str, str]) -> None:
    """Check that these are the input rows, with the labels the model gives them in this process."""
    model = Model.load(environment["SENTSTREAM_SCORE_MODEL"], provider="cpu")
    labels = model.score(TABLE["text"].to_pylist())["sentiment"].to_pylist()
    assert found["sentiment"].to_pylist() == labels
    assert found.select(["id", "text"]).to_pylist() == TABLE.to_pylist()


def forever(format: Format) -> Callable[[io.BufferedIOBase], None]:
    """Writes rows until the reader closes the pipe."""

    def write(pipe: io.BufferedIOBase) -> None:
        with open_writer(pipe, TABLE.schema, layout(format), ()) as writer:  # type: ignore[arg-type]
            while True:
                for batch in TABLE.to_batches():
                    writer.write(batch)

    return write


@pytest.mark.parametrize("format", STREAMS)
def test_streaming_output_before_input_ends(
    tmp_path: Path, environment: dict[str, str], format: Format
) -> None:
    """The input never ends, so nothing may wait for its end. There is no copy in TMPDIR."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with child(
        [*COMMAND, "-", "--threads", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**environment, "TMPDIR": str(temporary)},
        cwd=tmp_path,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def feed() -> None:
            with suppress(OSError):  # it is killed
                forever(format)(process.stdin)
            with suppress(OSError):
                process.stdin.close()

        feeder = threading.Thread(target=feed)
        feeder.start()
        source = open_source(Stream(process.stdout, "the output"), format)
        (piece,) = source.pieces()
        batch = next(read_piece(piece, None, 1000))
        assert batch.column("text").slice(0, 200).equals(TABLE.column("text").slice(0, 200).combine_chunks())
        assert "sentiment" in batch.schema.names
        assert not list(temporary.iterdir())
        process.kill()
        process.stdout.close()
        feeder.join()


def test_dry_run_of_a_stream(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "a.csv").write_bytes(packed("csv"))
    done = subprocess.run(
        [*COMMAND, "a.csv", "--dry-run", "--json"],
        capture_output=True,
        env=environment,
        cwd=tmp_path,
        check=True,
    )
    about = json.loads(done.stdout)
    assert about["rows"] is None
    assert about["outputs"][0]["output"] == str(tmp_path / "a.scored.csv")
    done = subprocess.run(
        [*COMMAND, "a.csv", "--json"], capture_output=True, env=environment, cwd=tmp_path, check=True
    )
    assert json.loads(done.stdout)["rows"] == 300


def test_stream_errors_name_lines(tmp_path: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*COMMAND, "-"],
        input=b"id,text\n1,a\n2\n",
        capture_output=True,
        env=environment,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 11
    assert b"standard input, line 3: 1 field, but the header has 2" in done.stderr
    assert not done.stdout
