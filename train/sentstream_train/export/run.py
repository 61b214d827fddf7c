"""Export a trained model to a sealed bundle: the function behind ``sentstream export-onnx``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sentstream.bundle import Bundle, load_bundle, make_config, save_bundle, with_reference
from sentstream.drift.distribution import LEAST_TEXTS
from sentstream.errors import DataError, OutputExistsError, UsageError
from sentstream.session import Session
from sentstream.text import Encoded, TextRules
from sentstream_train.data.labeled import read_labeled
from sentstream_train.data.lengths import some_of_each_length
from sentstream_train.elsewhere.foreign import Foreign
from sentstream_train.elsewhere.padding import Padding
from sentstream_train.elsewhere.parity import measure_texts
from sentstream_train.elsewhere.texts import odd_texts
from sentstream_train.export.card.figures import measure_bundle, named_files
from sentstream_train.export.card.sections import read_notes
from sentstream_train.export.card.write import write_card
from sentstream_train.export.parity import TOLERANCE, check_bits, draw_rows, measure_parity, measure_rounding
from sentstream_train.export.precision import measure_int8
from sentstream_train.export.reference import count_held_out
from sentstream_train.export.speed import compare_speed
from sentstream_train.network.arrays import same_numbers
from sentstream_train.network.conversion import to_keras
from sentstream_train.network.onnx_graph import OPSET
from sentstream_train.network.quantized import check_quantizable, correct_bias, quantize, saturates
from sentstream_train.network.tables import fold, to_int8
from sentstream_train.store.trained import Trained, as_bundle, graph_as_bundle, network_from, open_trained

Tables: TypeAlias = Literal["float32", "int8"]
Precision: TypeAlias = Literal["fp32", "int8"]
#: Maximum number of texts compared from a --parity-data file.
MOST_TEXTS = 5000


@dataclass(frozen=True)
class Export:
    """The result of an export.

    Attributes:
        bundle: The bundle, loaded back and verified.
        warnings: Warnings for the user.
        notes: For a model trained elsewhere, how it was read and how its graph was made; for a run, why its
            bundle has no drift reference.
        speed: For a model trained elsewhere, texts per second on one thread of the bundle and of the default
            model; else None. It depends on the machine, so the bundle does not contain it.
    """

    bundle: Bundle
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    speed: tuple[float, float] | None = None


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
    padding: Padding | None = None,
    evaluate: Sequence[str | Path] = (),
    notes: Path | None = None,
    parity_data: Path | None = None,
    overwrite: bool = False,
) -> Export:
    """Export a trained model and check the graph against Keras.

    Args:
        source: As for ``open_trained``.
        output: The bundle's directory.
        name: Name of the model; default: the name of ``output``.
        version: Version of the model.
        tables: Storage of the look-up tables. ``"int8"`` takes a quarter of the size and changes the
            probabilities slightly; the change is measured and written into the bundle.
        precision: Precision of the recurrence's matrix products; ``"int8"`` is about twice as fast. The
            change is measured, limited (``precision.measure_int8``) and written into the bundle.
        folded: Fold the first input projection into the tables.
        vocabulary, labels, rules, padding: For a model trained elsewhere; as for ``open_trained``.
        evaluate: Labeled files to measure the bundle on, each ``FILE`` or ``NAME=FILE``; the figures go into
            the bundle and its card.
        notes: A Markdown file whose sections go into the card (see ``card_sections.weave``).
        parity_data: A file of texts to compare on, instead of the held-out rows that the run saved.
        overwrite: Replace an existing bundle.

    Raises:
        OutputExistsError: ``output`` exists and ``overwrite`` is not set.
        ParityError: The graph and Keras differ by more than 1e-5, or int8 changes more than allowed;
            nothing is written.
        SentstreamError: As ``open_trained``, ``save_bundle``, ``measure_bundle``, ``named_files``,
            ``read_notes`` and ``quantize``.
    """
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output} already exists", hint="choose another name, or give --overwrite")
    files, sections = named_files(evaluate), () if notes is None else read_notes(notes)
    trained = open_trained(source, vocabulary=vocabulary, labels=labels, rules=rules, padding=padding)
    title = name or output.resolve().name
    if trained.foreign is not None and trained.foreign.reason is not None:
        draft, session, config = _converted(trained, title, version, tables, precision, parity_data)
    else:
        draft, session, config = _native_export(
            trained, title, version, tables, precision, folded, parity_data, files
        )
    for name_of_file, path in files.items():
        config["metrics"].pop(name_of_file, None)  # to append it: a bundle's metrics may be in any order
        config["metrics"][name_of_file] = measure_bundle(draft, session, path)
    warnings = trained.foreign.preprocessing.warnings if trained.foreign else ()
    if warnings:
        config["provenance"]["warnings"] = list(warnings)
    description = () if trained.foreign is None else tuple(describe(trained.foreign))
    if trained.held_out is not None:
        reference = count_held_out(draft, session, trained.held_out)
        if reference is not None:
            config = with_reference(config, reference)
        else:
            description = (
                f"drift:   no reference: fewer than {LEAST_TEXTS:,} rows were held out (--validation)",
            )
    speed = None if trained.foreign is None else compare_speed(session, draft)
    save_bundle(
        output,
        model=draft.model,
        vocabulary=trained.text.vocabulary,
        config=config,
        card=write_card(config, sections),
        overwrite=overwrite,
    )
    return Export(load_bundle(output), warnings, description, speed)


Draft: TypeAlias = tuple[Bundle, Session, dict[str, Any]]


def _native_export(
    trained: Trained,
    name: str,
    version: str,
    tables: Tables,
    precision: Precision,
    folded: bool,
    parity_data: Path | None,
    files: Mapping[str, Path],
) -> Draft:
    """The unsealed bundle, its session and its config, from sentstream's own exporter."""
    network = network_from(trained)
    if folded:
        network = fold(network)
    if precision == "int8":
        check_quantizable(network)
    reference, plain = trained.model, network
    if tables == "int8":
        # With a quantizer as the activation, sums can stay in steps of the tables if all scales are equal.
        network = to_int8(network, one_scale=precision == "int8" and saturates(network))
        # Compare with the same tables, so that only the graph can differ.
        reference = to_keras(network, mask_zero=not trained.text.rules.padded)
    rows, kind = _rows_to_compare(trained, parity_data)
    made_of = {"network": network.describe(), "parameters": network.parameters}
    config = _config(trained, name, version, made_of)
    draft = as_bundle(trained, network, config)
    session = Session(draft, "cpu")
    config["parity"] = measure_parity(session, reference, rows, kind)
    if tables != "int8":
        config["parity"] = _through_text(trained, session, parity_data) or config["parity"]
    elif not same_numbers(network, plain):
        config["parity"]["rounding"] = measure_rounding(session, trained.model, rows)
    if precision == "int8":
        plain, network = network, quantize(network, rows)
        rounded = not same_numbers(network, plain)
        config["provenance"]["network"] = network.describe()
        draft, before = as_bundle(trained, network, config), session
        session = Session(draft, "cpu")
        if rounded:
            network = correct_bias(network, session.probabilities(rows), before.probabilities(rows))
            draft = as_bundle(trained, network, config)
            session = Session(draft, "cpu")
        config["parity"]["precision"] = measure_int8(
            draft, session, before, rows, kind, files, rounded=rounded
        )
    return draft, session, config


def _converted(
    trained: Trained, name: str, version: str, tables: Tables, precision: Precision, parity_data: Path | None
) -> Draft:
    """The unsealed bundle, its session and its config, from tf2onnx."""
    assert trained.foreign is not None
    for option, value in (("--tables int8", tables), ("--precision int8", precision)):
        if value == "int8":
            raise UsageError(
                f"{option}: tf2onnx converts this model, because {trained.foreign.reason}",
                hint="leave it out",
            )
    layers = [f"{layer.name} ({type(layer).__name__})" for layer in trained.foreign.archive.model.layers]
    made_of = {
        "conversion": {"by": f"tf2onnx {metadata.version('tf2onnx')}", "layers": layers},
        "parameters": int(trained.model.count_params()),
    }
    config = _config(trained, name, version, made_of)
    draft = graph_as_bundle(trained, trained.foreign.graph(), config)
    session = Session(draft, "cpu")
    rows, kind = _rows_to_compare(trained, parity_data)
    check_bits(session, rows)
    config["parity"] = _through_text(trained, session, parity_data) or measure_parity(
        session, trained.model, rows, kind
    )
    return draft, session, config


def _through_text(trained: Trained, session: Session, data: Path | None) -> dict[str, Any] | None:
    """Parity that includes the text path; None if it is not known how texts became ids in Keras."""
    foreign = trained.foreign
    if foreign is None or foreign.preprocessing.sequences is None:
        return None
    if data is None:
        texts, kind = odd_texts(trained.text.vocabulary), "texts made of its own words"
    else:
        given = read_labeled(data, unlabeled_ok=True).text.to_pylist()
        texts = [text for text in given if text is not None and text and not text.isspace()]
        kind = "texts that were given"
    return measure_texts(session, foreign, texts[:MOST_TEXTS], kind, TOLERANCE)


def describe(foreign: Foreign) -> Iterator[str]:
    """How a model trained elsewhere was read, as lines for the user."""
    fit, preprocessing = foreign.fit, foreign.preprocessing
    yield f"texts:   cut as {preprocessing.made_by} does, {len(preprocessing.vocabulary):,} tokens known"
    if fit.length is None:
        yield "length:  any" + (
            ", never padded" if fit.unpadded else "; zeros that pad a text change nothing"
        )
    else:
        side = "in front" if fit.padding == "pre" else "at the end"
        cut = "from the front" if fit.truncating == "pre" else "at the end"
        zeros = f"zeros {side}" if fit.matters else "no zeros, which change nothing"
        assumed = "; Keras' defaults, else say --padding and --truncating" if fit.assumed else ""
        yield f"length:  {fit.length} tokens, longer texts cut {cut}, {zeros}{assumed}"
    if foreign.reason is None:
        yield "way:     sentstream's own exporter"
    else:
        yield f"way:     tf2onnx: {foreign.reason}"


def _config(trained: Trained, name: str, version: str, made_of: Mapping[str, Any]) -> dict[str, Any]:
    return make_config(
        name=name,
        version=version,
        labels=trained.labels,
        rules=trained.text.rules,
        vocabulary=trained.text.vocabulary,
        opset=OPSET,
        max_chars=trained.text.max_chars,
        provenance={**trained.provenance, **made_of},
        metrics=trained.metrics,
    )


def _rows_to_compare(trained: Trained, data: Path | None) -> tuple[Encoded, str]:
    if data is not None:
        texts = read_labeled(data, unlabeled_ok=True).text
        rows = trained.text.encode(texts)
        if not (rows.lengths > 0).any():
            raise DataError(f"{data} has no text to compare on")
        return some_of_each_length(rows), "texts that were given"
    if trained.rows is not None and len(trained.rows):
        return trained.rows, "held-out rows"
    return draw_rows(trained.text), "drawn token ids"
