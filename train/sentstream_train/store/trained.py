"""Open a trained model and everything that belongs to it: from a run, a bundle or a ``.keras`` file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import onnx
from onnx import numpy_helper

from sentstream.bundle import Bundle, load_bundle
from sentstream.errors import BundleNotFoundError, CheckpointError, ModelFormatError, UsageError
from sentstream.text import Encoded, TextPath, TextRules, Vocabulary
from sentstream_train.data.labeled import sha256_of
from sentstream_train.elsewhere.foreign import Foreign, open_foreign, wordless_probabilities
from sentstream_train.elsewhere.padding import Padding
from sentstream_train.network.arrays import Network, rebuild
from sentstream_train.network.conversion import from_keras, to_keras
from sentstream_train.network.keras_file import check_keras, load_keras
from sentstream_train.network.onnx_graph import to_onnx, with_metadata
from sentstream_train.network.tables import fold
from sentstream_train.store.folder import HeldOutRows, RunFolder
from sentstream_train.store.record import PASSED_ON


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
        model: The network in Keras, not compiled.
        labels: Its classes, in the order of its output.
        text: The text path: tweets -> token ids.
        name: Its name.
        fingerprint: A bundle's digest, or ``sha256:`` and the hash of the ``.keras`` file.
        provenance: Where it comes from, JSON-ready.
        metrics: Figures measured in training and at export.
        rows: Token ids of held-out rows of every length, or None.
        held_out: Rows that were held out of its training, or None.
        foreign: More about a model that was trained elsewhere, else None.
    """

    model: keras.Model
    labels: tuple[str, ...]
    text: TextPath
    name: str
    fingerprint: str
    provenance: dict[str, Any]
    metrics: dict[str, Any]
    rows: Encoded | None = None
    held_out: HeldOutRows | None = None
    foreign: Foreign | None = None


def open_trained(
    source: str | os.PathLike[str],
    *,
    vocabulary: Path | None = None,
    labels: Sequence[str] | None = None,
    rules: TextRules | None = None,
    padding: Padding | None = None,
) -> Trained:
    """Open a trained model.

    Args:
        source: A finished run's folder or its ``model.keras``; a bundle, by name or path; or the
            ``.keras`` file of a model that was trained elsewhere, which uses the other arguments.
        vocabulary: The model's vocabulary (see ``read_vocabulary_file``).
        labels: Its classes, in the order of its output.
        rules: Its text rules, if neither the model nor its vocabulary has them.
        padding: How texts were padded or cut to one length.

    Raises:
        BundleError: The bundle does not exist or is not valid.
        CheckpointError: The run is not finished.
        ModelFormatError: The model cannot be loaded safely, or has an unsupported format.
        UsageError: A model trained elsewhere without vocabulary or labels, or a sentstream model with them;
            or as ``open_foreign``.
        DataError: The vocabulary is not the model's, or cannot be read.
    """
    path = Path(source)
    run = (path if path.is_dir() else path.parent) / "run.json"
    if path.suffix == ".keras" and (vocabulary is not None or not run.exists()):
        return _elsewhere(path, vocabulary, labels, rules, padding or Padding())
    if (path.is_file() and path.suffix != ".keras") or (path / "saved_model.pb").exists():
        check_keras(path)  # raises an error that says what the file is
    if any(option is not None for option in (vocabulary, labels, rules, padding)):
        raise UsageError(
            f"{source} already has its vocabulary, labels and text rules",
            hint="those options are for other .keras files",
        )
    if path.suffix == ".keras" or (path.is_dir() and run.exists()):
        return _from_run(RunFolder(run.parent), path)
    return _from_bundle(load_bundle(source))


def _from_run(folder: RunFolder, path: Path) -> Trained:
    record = folder.read_record()
    model = folder.model if path.is_dir() else path
    if not model.exists():
        raise CheckpointError(
            f"{model} does not exist", hint="is the run finished? Continue it with train --resume"
        )
    return Trained(
        model=load_keras(model),
        labels=record.labels,
        text=TextPath(record.rules, folder.read_vocabulary(record.rules), record.max_chars),
        name=folder.path.resolve().name,
        fingerprint=f"sha256:{sha256_of(model)}",
        provenance=record.provenance(),
        metrics=dict(record.metrics),
        rows=folder.read_parity_rows(),
        held_out=folder.read_held_out(),
    )


def _from_bundle(bundle: Bundle) -> Trained:
    provenance = bundle.config["provenance"]
    model = to_keras(network_of(bundle), mask_zero=not bundle.text.rules.padded)
    return Trained(
        model=model,
        labels=bundle.labels,
        text=bundle.text,
        name=bundle.name,
        fingerprint=bundle.digest,
        provenance={
            **{key: provenance[key] for key in PASSED_ON if key in provenance},
            "bundle": {"name": bundle.name, "version": bundle.version, "digest": bundle.digest},
        },
        metrics=bundle.config["metrics"],
    )


def network_of(bundle: Bundle) -> Network:
    """The network inside a bundle, rebuilt from its graph's constants.

    Raises:
        ModelFormatError: The bundle was not exported by ``sentstream export-onnx``.
    """
    if "conversion" in bundle.config["provenance"]:
        raise ModelFormatError(
            f"{bundle.path} has a graph from tf2onnx, which cannot be trained further",
            hint="train the .keras file in Keras and export it again, or fine-tune a model that ships",
        )
    try:
        described = bundle.config["provenance"]["network"]
        graph = onnx.load_model_from_string(bundle.model).graph
        tensors = [
            *graph.initializer,
            *(t for node in graph.node for a in node.attribute for t in a.g.initializer),
        ]
        return rebuild(described, {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in tensors})
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ModelFormatError(
            f"{bundle.path} does not describe its network: {error}",
            hint="give the .keras file instead",
        ) from error


def _elsewhere(
    path: Path,
    vocabulary: Path | None,
    labels: Sequence[str] | None,
    rules: TextRules | None,
    padding: Padding,
) -> Trained:
    if not path.exists():
        raise BundleNotFoundError(f"{path} does not exist")
    if labels is None:
        raise UsageError(
            f"{path} is not from a sentstream run, and --labels is missing",
            hint="use export-onnx with --labels; other commands take the resulting bundle",
        )
    foreign = open_foreign(path, vocabulary, labels, rules, padding)
    digest = sha256_of(path)
    return Trained(
        model=foreign.model,
        labels=tuple(labels),
        text=foreign.text,
        name=path.stem,
        fingerprint=f"sha256:{digest}",
        provenance={
            "file": {"name": path.name, "sha256": digest, "preprocessing": foreign.preprocessing.made_by}
        },
        metrics={},
        foreign=foreign,
    )


def network_from(trained: Trained) -> Network:
    """The network of a model as plain arrays, with tables no longer than its vocabulary.

    Raises:
        ModelFormatError: The network cannot be expressed in plain arrays.
    """
    return with_vocabulary_rows(from_keras(trained.model), trained.text.vocabulary)


def as_bundle(
    trained: Trained, network: Network | None = None, config: dict[str, Any] | None = None
) -> Bundle:
    """An unsealed bundle in memory, enough for a ``Session``.

    Args:
        trained: The model.
        network: Its network in another form; by default its own, with folded tables.
        config: The contents of the later ``config.json``; by default only a name and a version.
    """
    wordless = wordless_probabilities(trained.model, trained.text.rules)
    return graph_as_bundle(trained, to_onnx(network or fold(network_from(trained)), wordless), config)


def graph_as_bundle(trained: Trained, graph: bytes, config: dict[str, Any] | None = None) -> Bundle:
    """An unsealed bundle around an existing graph; with ``config``, metadata is written into the graph."""
    about = config or {"name": trained.name, "version": "0"}
    if config is not None:
        vocabulary = trained.text.vocabulary
        facts = {
            "name": config["name"],
            "version": config["version"],
            "labels": json.dumps(list(trained.labels), ensure_ascii=False),
            "vocabulary_size": str(len(vocabulary)),
            "vocabulary_sha256": hashlib.sha256(vocabulary.words_bytes()).hexdigest(),
            "model_fingerprint": trained.fingerprint,
        }
        graph = with_metadata(graph, facts)
    return Bundle(
        path=Path(about["name"]),
        name=about["name"],
        version=about["version"],
        digest="",
        labels=trained.labels,
        config=about,
        card="",
        text=trained.text,
        model=graph,
    )


def with_vocabulary_rows(network: Network, vocabulary: Vocabulary) -> Network:
    """The same network without rows of its word table beyond the vocabulary."""
    if len(network.lookup.words) == len(vocabulary):
        return network
    return replace(network, lookup=replace(network.lookup, words=network.lookup.words[: len(vocabulary)]))
