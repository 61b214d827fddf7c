"""A training run's folder: its files, written so that a kill never leaves one incomplete."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentstream.errors import CheckpointError, OutputExistsError, OutputWriteError, naming
from sentstream.storage.sync import sync_directory
from sentstream.storage.whole_file import check_writable
from sentstream.text import Encoded, TextRules, Vocabulary
from sentstream_train.data.lengths import evenly, some_of_each_length
from sentstream_train.store.record import RunRecord

#: Maximum number of held-out rows to keep: more would change no share by half a point.
_MOST_HELD_OUT = 50_000


@dataclass(frozen=True)
class HeldOutRows:
    """Rows that were held out of training, as token ids only, without texts.

    Attributes:
        of: A one-line description.
        ids: Token ids from the model's text path.
    """

    of: str
    ids: Encoded


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    - ``run.json``: the record (``RunRecord``).
    - ``model.keras``, ``vocabulary.txt``, ``pairs.parquet``: the model.
    - ``checkpoint-N.keras``, ``checkpoint.json``; in a fine-tuning also ``stage-N.keras``, ``stages.json``;
      ``taught.npz`` (teachers' probabilities), ``vectors.npz`` (initial word vectors): for ``--resume``.
    - ``best.weights.h5``: the weights of the best epoch so far.
    - ``log.csv``, ``log.json``, ``curve.png``: the learning curve.
    - ``parity.npz``: token ids of held-out rows of every length, to check an export.
    - ``held_out.npz``: token ids of a sample of held-out rows, for the bundle's drift reference.
    """

    path: Path

    @property
    def run(self) -> Path:
        return self.path / "run.json"

    @property
    def model(self) -> Path:
        return self.path / "model.keras"

    def checkpoint(self, epoch: int) -> Path:
        """The file with network and optimizer after an epoch."""
        return self.path / f"checkpoint-{epoch}.keras"

    @property
    def parity(self) -> Path:
        return self.path / "parity.npz"

    @property
    def held_out(self) -> Path:
        return self.path / "held_out.npz"

    @property
    def taught(self) -> Path:
        return self.path / "taught.npz"

    @property
    def state(self) -> Path:
        return self.path / "checkpoint.json"

    @property
    def stages(self) -> Path:
        return self.path / "stages.json"

    def stage(self, number: int) -> Path:
        """The file with the network after a stage of a fine-tuning, counted from 1."""
        return self.path / f"stage-{number}.keras"

    @property
    def best(self) -> Path:
        return self.path / "best.weights.h5"

    @property
    def vectors(self) -> Path:
        return self.path / "vectors.npz"

    def is_unused(self) -> bool:
        """Whether a new run may use the folder: empty, or left by a run killed before it wrote its record."""
        names = {path.name for path in self.path.iterdir() if not path.name.startswith(".")}
        return names <= {"vocabulary.txt", "pairs.parquet", "taught.npz", "vectors.npz"}

    def remove_checkpoints(self, epoch: int) -> None:
        """Remove the files that only an unfinished run needs, including the checkpoint of ``epoch``."""
        for path in (self.checkpoint(epoch), self.state, self.taught, self.vectors, self.best):
            path.unlink(missing_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """Write a file under a temporary name, then rename it."""
        temporary = self.path / f".{name}.{os.getpid()}.tmp"
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / name)

    def write_json(self, path: Path, value: Any) -> None:
        self.write(path.name, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())

    def read_record(self) -> RunRecord:
        """The record in ``run.json``.

        Raises:
            CheckpointError: The file is missing, or this version cannot read it.
        """
        values = self.read_json(self.run)
        with naming(self.run):
            return RunRecord.from_dict(values)

    def write_record(self, record: RunRecord) -> None:
        self.write_json(self.run, record.to_dict())

    def read_json(self, path: Path) -> dict[str, Any]:
        """The JSON object in a file of the run.

        Raises:
            CheckpointError: The file is missing or is not a JSON object.
        """
        try:
            value = json.loads(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise CheckpointError(f"{path} does not exist", hint="is this a run folder?") from error
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise CheckpointError(f"{path} does not contain a JSON object")
        return value

    def read_log(self) -> list[dict[str, float]]:
        """The learning curve: one record per finished epoch.

        Raises:
            CheckpointError: It cannot be read.
        """
        path = self.path / "log.json"
        try:
            epochs = json.loads(path.read_text("utf-8")) if path.exists() else []
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        if not isinstance(epochs, list):
            raise CheckpointError(f"{path} does not contain a JSON list")
        return epochs

    def write_log(self, epochs: Sequence[dict[str, float]]) -> None:
        """Write the learning curve, as CSV and as JSON."""
        table = io.StringIO()
        if epochs:
            writer = csv.DictWriter(table, list(epochs[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(epochs)
        self.write("log.csv", table.getvalue().encode())
        self.write_json(self.path / "log.json", list(epochs))

    def save_model(self, model: Any, path: Path) -> None:
        """Save a Keras model under a temporary name, then rename it."""
        temporary = path.with_name(f".{os.getpid()}.{path.name}")
        if path.name.endswith(".weights.h5"):
            model.save_weights(temporary)
        else:
            model.save(temporary)
        temporary.replace(path)

    def write_vocabulary(self, vocabulary: Vocabulary) -> None:
        self.write("vocabulary.txt", vocabulary.words_bytes())
        pairs = vocabulary.pairs_bytes()
        if pairs is not None:
            self.write("pairs.parquet", pairs)

    def read_vocabulary(self, rules: TextRules) -> Vocabulary:
        """The vocabulary that the model was trained with.

        Args:
            rules: The text rules that the model was trained with.

        Raises:
            CheckpointError: It cannot be read.
        """
        pairs = self.path / "pairs.parquet"
        try:
            words = (self.path / "vocabulary.txt").read_bytes()
            return Vocabulary.load(words, pairs.read_bytes() if pairs.exists() else None, escaped=rules.cuts)
        except OSError as error:
            raise CheckpointError(
                f"the vocabulary of {self.path} cannot be read: {error.strerror}"
            ) from error

    def write_validation(self, rows: HeldOutRows) -> None:
        """Save the validation rows that an export needs: some of each length, and a representative sample."""
        self.write_parity_rows(rows.ids)
        self.write_held_out(rows)

    def write_held_out(self, rows: HeldOutRows) -> None:
        """Save held-out rows; if there are too many, an evenly spaced sample."""
        self._write_rows(self.held_out, evenly(rows.ids, _MOST_HELD_OUT), of=np.array(rows.of))

    def write_parity_rows(self, rows: Encoded) -> None:
        """Save some rows of each length."""
        self._write_rows(self.parity, some_of_each_length(rows))

    def _write_rows(self, path: Path, rows: Encoded, **more: npt.NDArray[Any]) -> None:
        if rows.pairs is not None:
            more["pairs"] = rows.pairs
        data = io.BytesIO()
        np.savez_compressed(data, offsets=rows.offsets, words=rows.words, **more)  # type: ignore[arg-type]
        self.write(path.name, data.getvalue())

    def write_taught(self, train: npt.NDArray[np.float32], validation: npt.NDArray[np.float32]) -> None:
        """Save the teachers' probabilities for both sides until the run is finished."""
        self._write_arrays(self.taught, train=train, validation=validation)

    def read_taught(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """The teachers' probabilities for both sides, saved by ``write_taught``.

        Raises:
            CheckpointError: It cannot be read.
        """
        arrays = self._read_arrays(self.taught, "train", "validation")
        return arrays["train"], arrays["validation"]

    def write_vectors(self, rows: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> None:
        """Save the initial word vectors, and the rows that get them, until the run is finished."""
        self._write_arrays(self.vectors, rows=rows, vectors=vectors)

    def read_vectors(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The rows and word vectors saved by ``write_vectors``.

        Raises:
            CheckpointError: It cannot be read.
        """
        arrays = self._read_arrays(self.vectors, "rows", "vectors")
        return arrays["rows"], arrays["vectors"]

    def _write_arrays(self, path: Path, **arrays: npt.NDArray[Any]) -> None:
        data = io.BytesIO()
        np.savez(data, **arrays)  # type: ignore[arg-type]
        self.write(path.name, data.getvalue())

    def _read_arrays(self, path: Path, *names: str) -> dict[str, npt.NDArray[Any]]:
        """All arrays of a file, which must include ``names``."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in {*arrays.files, *names}}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error

    def read_parity_rows(self) -> Encoded | None:
        """The rows to check an export on; None if there are none.

        Raises:
            CheckpointError: They cannot be read.
        """
        if not self.parity.exists():
            return None
        return _encoded(self._read_arrays(self.parity, "offsets", "words"))

    def read_held_out(self) -> HeldOutRows | None:
        """The rows saved by ``write_held_out``; None if there are none, as in runs of earlier versions.

        Raises:
            CheckpointError: It cannot be read.
        """
        if not self.held_out.exists():
            return None
        arrays = self._read_arrays(self.held_out, "offsets", "words", "of")
        return HeldOutRows(str(arrays["of"]), _encoded(arrays))


def _encoded(arrays: Mapping[str, npt.NDArray[Any]]) -> Encoded:
    return Encoded(arrays["offsets"], arrays["words"], arrays.get("pairs"))


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[RunFolder]:
    """Write a run's folder atomically: into a hidden folder beside ``target``, renamed at the end.

    If the block raises, the hidden folder is removed, and so are the parents that were created for it.

    Args:
        target: The run's folder; missing parents are created.

    Raises:
        OutputExistsError: ``target`` exists, or appeared while the block ran.
        OutputWriteError: It cannot be written (no space, no permission).
    """
    check_free(target)
    hidden = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    missing = [parent for parent in target.parents if not parent.exists()]  # the deepest first
    try:
        try:
            hidden.mkdir(parents=True)
            yield RunFolder(hidden)
            for path in hidden.iterdir():
                with path.open("rb+") as file:
                    os.fsync(file.fileno())
            sync_directory(hidden)
            check_free(target)
            hidden.rename(target)
            missing = []
            sync_directory(target.parent)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
            for parent in missing:
                with contextlib.suppress(OSError):  # no longer empty
                    parent.rmdir()
    except OSError as error:
        raise OutputWriteError(f"{target} cannot be written: {error.strerror or error}") from error


def check_free(target: Path) -> None:
    """Check before any work that ``whole_folder`` will be able to create a folder.

    Raises:
        OutputExistsError: ``target`` exists.
        OutputWriteError: The parent is not a directory or is not writable.
    """
    if os.path.lexists(target):
        raise OutputExistsError(f"{target} already exists", hint="choose another --output")
    check_writable(target, overwrite=False)
