"""A training run's folder: what is in it, and how it is written so that a kill leaves it whole."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentstream.errors import CheckpointError
from sentstream.text import Encoded, Vocabulary
from sentstream_train.lengths import some_of_each_length

RUN_FORMAT = 1


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    ``run.json`` says everything about it; ``model.keras``, ``vocabulary.txt`` and ``pairs.parquet``
    are the result; ``checkpoint-N.keras`` and ``checkpoint.json`` are what ``--resume`` reads;
    ``log.csv`` and ``log.json`` hold the learning curve, ``curve.png`` draws it; ``parity.npz`` keeps
    token ids of held-out rows of every length, against which an export is checked.
    """

    path: Path

    @property
    def run(self) -> Path:
        return self.path / "run.json"

    @property
    def model(self) -> Path:
        return self.path / "model.keras"

    def checkpoint(self, epoch: int) -> Path:
        """The network and the optimizer after an epoch."""
        return self.path / f"checkpoint-{epoch}.keras"

    @property
    def parity(self) -> Path:
        return self.path / "parity.npz"

    @property
    def targets(self) -> Path:
        return self.path / "targets.npy"

    @property
    def state(self) -> Path:
        return self.path / "checkpoint.json"

    @property
    def best(self) -> Path:
        return self.path / "best.weights.h5"

    def is_unused(self) -> bool:
        """Whether nothing is lost if a run begins here: it is empty, or a run was killed before it began."""
        names = {path.name for path in self.path.iterdir() if not path.name.startswith(".")}
        return names <= {"vocabulary.txt", "pairs.parquet", "targets.npy"}

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

    def read_json(self, path: Path) -> dict[str, Any]:
        """Read a JSON file of the run.

        Raises:
            CheckpointError: It is not there or not JSON.
        """
        try:
            value = json.loads(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise CheckpointError(f"{path} is not there", hint="is this the folder of a run?") from error
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise CheckpointError(f"{path} does not hold an object")
        return value

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

    def read_vocabulary(self) -> Vocabulary:
        """The vocabulary that the model was trained with."""
        pairs = self.path / "pairs.parquet"
        try:
            words = (self.path / "vocabulary.txt").read_bytes()
            return Vocabulary.load(words, pairs.read_bytes() if pairs.exists() else None)
        except OSError as error:
            raise CheckpointError(
                f"the vocabulary of {self.path} cannot be read: {error.strerror}"
            ) from error

    def write_parity_rows(self, rows: Encoded) -> None:
        """Keep some rows of each length, ids only: no text leaves the data."""
        some = some_of_each_length(rows)
        pairs = {} if some.pairs is None else {"pairs": some.pairs}
        data = io.BytesIO()
        np.savez_compressed(data, offsets=some.offsets, words=some.words, **pairs)  # type: ignore[arg-type]
        self.write(self.parity.name, data.getvalue())

    def write_targets(self, targets: npt.NDArray[np.float32]) -> None:
        """Keep what teachers made of the training rows until the run is finished."""
        data = io.BytesIO()
        np.save(data, targets, allow_pickle=False)
        self.write(self.targets.name, data.getvalue())

    def read_targets(self) -> npt.NDArray[np.float32]:
        """What ``write_targets`` kept.

        Raises:
            CheckpointError: It cannot be read.
        """
        try:
            targets: npt.NDArray[np.float32] = np.load(self.targets, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.targets} cannot be read: {error}") from error
        return targets

    def read_parity_rows(self) -> Encoded | None:
        """The rows that an export is checked on; None where there are none.

        Raises:
            CheckpointError: They cannot be read.
        """
        if not self.parity.exists():
            return None
        try:
            with np.load(self.parity, allow_pickle=False) as arrays:
                return Encoded(arrays["offsets"], arrays["words"], arrays.get("pairs"))
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(f"{self.parity} cannot be read: {error}") from error
