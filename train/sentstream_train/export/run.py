"""A trained model -> a sealed bundle: the function under ``sentstream export-onnx``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import keras

from sentstream.bundle import Bundle, load_bundle, make_config, save_bundle
from sentstream.errors import DataError, OutputExistsError
from sentstream.session import Session
from sentstream.text import Encoded, TextRules
from sentstream_train.data.labeled import read_labeled
from sentstream_train.data.lengths import some_of_each_length
from sentstream_train.export.card import write_card
from sentstream_train.export.card_figures import measure_bundle, named_files
from sentstream_train.export.card_sections import read_notes
from sentstream_train.export.parity import draw_rows, measure_parity, measure_rounding
from sentstream_train.export.precision import measure_int8
from sentstream_train.network.arrays import Network
from sentstream_train.network.conversion import from_keras, to_keras
from sentstream_train.network.onnx_graph import OPSET
from sentstream_train.network.quantized import check_quantizable, quantize
from sentstream_train.network.tables import fold, to_int8
from sentstream_train.store.trained import Trained, as_bundle, open_trained, with_vocabulary_rows

Tables: TypeAlias = Literal["float32", "int8"]
Precision: TypeAlias = Literal["fp32", "int8"]


@dataclass(frozen=True)
class Export:
    """What an export came to.

    Attributes:
        bundle: The bundle, loaded back and verified.
        warnings: What its user should know.
    """

    bundle: Bundle
    warnings: tuple[str, ...]


def export(
    source: str | os.PathLike[str],
    output: Path,
    *,
    name: str | None = None,
    version: str = "1.0.0",
    tables: Tables = "float32",
    precision: Precision = "fp32",
    folded: bool = True,
    vocabulary: Path | None = None,
    labels: Sequence[str] | None = None,
    rules: TextRules | None = None,
    evaluate: Sequence[str | Path] = (),
    notes: Path | None = None,
    parity_data: Path | None = None,
    overwrite: bool = False,
) -> Export:
    """Export a trained model, checked against Keras.

    Args:
        source: What ``open_trained`` opens.
        output: The bundle's directory.
        name: Name of the model; by default that of the output.
        version: Version of the model.
        tables: How the look-up tables are stored; ``"int8"`` is a quarter of the size, moves the
            probabilities a little, and by how much is measured and written into the bundle.
        precision: What the products of the recurrence run in; with ``"int8"`` about twice as fast. What
            that changes is measured, bounded (``precision.measure_int8``) and written into the bundle.
        folded: Fold the first input projection into the tables.
        vocabulary, labels, rules: Of a model that was trained elsewhere.
        evaluate: Labeled files to measure the bundle on, each ``FILE`` or ``NAME=FILE``; the figures go into
            it and its card.
        notes: A Markdown file whose sections go into the card (see ``sections.weave``).
        parity_data: A file of texts to compare on, instead of the rows that the run kept.
        overwrite: Replace a bundle that is there.

    Raises:
        ParityError: The graph and Keras differ by more than 1e-5, or int8 changes more than it may;
            nothing is written.
        SentstreamError: As ``open_trained``, ``save_bundle``, ``measure_bundle``, ``named_files``,
            ``read_notes`` and ``quantize``.
    """
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output} already exists", hint="choose another name, or give --overwrite")
    files, sections = named_files(evaluate), () if notes is None else read_notes(notes)
    trained = open_trained(source, vocabulary=vocabulary, labels=labels, rules=rules)
    network = with_vocabulary_rows(from_keras(trained.model), trained.text.vocabulary)
    if folded:
        network = fold(network)
    if precision == "int8":
        check_quantizable(network)
    reference = trained.model
    if tables == "int8":
        network = to_int8(network)
        reference = to_keras(network)  # the same tables: what is left to differ is the graph
    rows, kind = _rows_to_compare(trained, parity_data)
    config = _config(trained, network, name or output.resolve().name, version)
    draft = as_bundle(trained, network, config)
    session = Session(draft, "cpu")
    config["parity"] = measure_parity(session, reference, rows, kind)
    if tables == "int8":
        config["parity"]["rounding"] = measure_rounding(session, trained.model, rows)
    if precision == "int8":
        network = quantize(network, rows)
        config["provenance"]["network"] = network.describe()
        draft, before = as_bundle(trained, network, config), session
        session = Session(draft, "cpu")
        config["parity"]["precision"] = measure_int8(draft, session, before, rows, kind, files)
    for title, path in files.items():
        config["metrics"][title] = measure_bundle(draft, session, path)
    warnings = _warnings(trained)
    if warnings:
        config["provenance"]["warnings"] = list(warnings)
    save_bundle(
        output,
        model=draft.model,
        vocabulary=trained.text.vocabulary,
        config=config,
        card=write_card(config, sections),
        overwrite=overwrite,
    )
    return Export(load_bundle(output), warnings)


def _config(trained: Trained, network: Network, name: str, version: str) -> dict[str, Any]:
    return make_config(
        name=name,
        version=version,
        labels=trained.labels,
        rules=trained.text.rules,
        vocabulary=trained.text.vocabulary,
        opset=OPSET,
        max_chars=trained.text.max_chars,
        provenance={**trained.provenance, "network": network.describe(), "parameters": network.parameters},
        metrics=trained.metrics,
    )


def _rows_to_compare(trained: Trained, data: Path | None) -> tuple[Encoded, str]:
    if data is not None:
        texts = read_labeled(data, unlabeled_ok=True).text
        rows = trained.text.encode(texts)
        if not (rows.lengths > 0).any():
            raise DataError(f"{data} holds no text to compare on")
        return some_of_each_length(rows), "texts that were given"
    if trained.rows is not None and len(trained.rows):
        return trained.rows, "held-out rows"
    return draw_rows(trained.text), "drawn token ids"


def _warnings(trained: Trained) -> tuple[str, ...]:
    """Ways in which a model of elsewhere may have been trained on other inputs than it will see."""
    first = next(layer for layer in trained.model.layers if layer.weights)
    if "file" in trained.provenance and isinstance(first, keras.layers.Embedding) and not first.mask_zero:
        return (
            "its Embedding does not mask padding, and tweets are scored unpadded: if it was trained on padded"
            " tweets, its figures will differ from those of the training",
        )
    return ()
