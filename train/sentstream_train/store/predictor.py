"""A common interface to bundles and Keras runs: texts -> probabilities."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.errors import CheckpointError
from sentstream.model import Model
from sentstream.text import TextPath
from sentstream_train.quiet import quiet_stderr
from sentstream_train.store.folder import RunFolder

Probabilities: TypeAlias = npt.NDArray[np.float32]
#: Called with (rows done, total rows).
Progress: TypeAlias = Callable[[int, int], None]

_ROWS_AT_ONCE = 8192
#: The figures of a calibration, without its bins.
FIGURES = ("ece", "log_loss", "brier")


class Predictor(Protocol):
    """A model that can be evaluated.

    Attributes:
        labels: The classes, in the order of the probabilities.
        text: The text path.
        about: JSON-ready facts: ``kind``, ``name``, ``version``, ``digest``, ``labels``; for a calibrated
            model also ``calibration`` (``calibration_facts``).
    """

    labels: tuple[str, ...]
    text: TextPath
    about: dict[str, Any]

    def probabilities(self, text: pa.Array, progress: Progress | None = None) -> Probabilities:
        """``float32[rows, classes]``; NaN for texts that are null, empty or only white space."""


def open_model(model: str | os.PathLike[str]) -> Predictor:
    """Open a model.

    Args:
        model: The name of a model that ships, a bundle, a finished run's folder or its ``model.keras``.

    Raises:
        BundleError: The bundle does not exist or is not valid.
        CheckpointError: The run is not finished.
        ModelFormatError: The run's model cannot be loaded safely.
        MissingExtraError: ONNX Runtime (for a bundle) or Keras (for a run) is not installed.
    """
    path = Path(model)
    folder = RunFolder(path if path.is_dir() else path.parent)
    if path.suffix == ".keras" and not folder.run.exists():
        raise CheckpointError(
            f"{folder.run} does not exist", hint="export a model from elsewhere first: sentstream export-onnx"
        )
    if path.suffix == ".keras" or (path.is_dir() and folder.run.exists()):
        return KerasPredictor(folder.model if path.is_dir() else path)
    return BundlePredictor(Model.load(model, provider="cpu"))


class BundlePredictor:
    """A bundle, run as ``sentstream score`` runs it, on the CPU."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.labels, self.text = model.labels, model.bundle.text
        self.about: dict[str, Any] = {
            "kind": "bundle",
            "name": model.name,
            "version": model.version,
            "digest": model.digest,
            "labels": list(model.labels),
            **calibration_facts(model.bundle.config["provenance"]),
        }

    def probabilities(self, text: pa.Array, progress: Progress | None = None) -> Probabilities:
        """``float32[rows, classes]``; NaN for a blank text."""
        scorer = self._model.scorer(columns=[])
        batches = (
            pa.record_batch({"text": text.slice(start, _ROWS_AT_ONCE)})
            for start in range(0, len(text), _ROWS_AT_ONCE)
        )
        parts: list[Probabilities] = []
        done = 0
        for scored in scorer.score_stream(batches, self._model.threads):
            # The label and its score come first, then one column per label.
            columns = [column.to_numpy(zero_copy_only=False) for column in scored.batch.columns[2:]]
            parts.append(np.stack(columns, axis=1))
            done += len(scored.batch)
            if progress:
                progress(done, len(text))
        return np.concatenate(parts)


class KerasPredictor:
    """The network of a finished training run, as Keras computes it."""

    def __init__(self, path: Path) -> None:
        # Imported here because it loads TensorFlow, which bundles do not need.
        with quiet_stderr():
            from sentstream_train.store.trained import open_trained

        self._trained = open_trained(path)
        self.labels, self.text = self._trained.labels, self._trained.text
        self.about: dict[str, Any] = {
            "kind": "keras",
            "name": self._trained.name,
            "version": None,
            "digest": self._trained.fingerprint,
            "labels": list(self.labels),
            **calibration_facts(self._trained.provenance),
        }

    def probabilities(self, text: pa.Array, progress: Progress | None = None) -> Probabilities:
        """``float32[rows, classes]``; NaN for a blank text."""
        from sentstream_train.network.predict import keras_probabilities

        return keras_probabilities(self._trained.model, self.text.encode(text), progress)


def calibration_facts(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """How a model was calibrated, from its provenance: ``{"calibration": …}``, or empty if it was not."""
    try:
        entry = provenance["calibration"]
        facts = {
            "temperature": float(entry["temperature"]),
            "n": int(entry["n"]),
            "after_is": str(entry["after_is"]),
            **{when: {key: float(entry[when][key]) for key in FIGURES} for when in ("before", "after")},
        }
    except (KeyError, TypeError, ValueError):
        return {}
    return {"calibration": facts}
