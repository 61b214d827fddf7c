"""``sentstream export-onnx``: export a Keras model to a sealed ONNX bundle."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sentstream.cli.options import training as options
from sentstream.cli.options.common import Json
from sentstream.cli.terminal.streams import open_console, print_json

if TYPE_CHECKING:
    from sentstream_train.export.run import Export

elsewhere = partial(typer.Option, rich_help_panel="Other Keras models", show_default=False)


EXAMPLES = """[bold]Examples[/bold]

sentstream export-onnx runs/mine --output bundles/mine

sentstream export-onnx runs/mine --output bundles/fast --precision int8

sentstream export-onnx runs/mine --output bundles/mine --evaluate test.parquet

sentstream export-onnx old.keras -o old --vocabulary words.txt --labels no,yes
"""


def export_onnx(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Directory of a finished run, its model.keras, or any compatible .keras file.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Directory of the bundle to write.", show_default=False
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the model.", show_default="the directory's name"),
    ] = None,
    model_version: Annotated[
        str, typer.Option("--model-version", metavar="X.Y.Z", help="Version of the model.")
    ] = "1.0.0",
    tables: Annotated[
        Literal["float32", "int8"],
        typer.Option(
            metavar="TYPE",
            help="Type of the lookup tables: float32, or int8, a quarter of the size. The effect is measured"
            " and recorded in the bundle.",
        ),
    ] = "float32",
    precision: Annotated[
        Literal["fp32", "int8"],
        typer.Option(
            metavar="TYPE",
            help="Type of the recurrence's products: fp32, or int8, up to twice as fast. The effect is"
            " measured, limited and recorded in the bundle.",
        ),
    ] = "fp32",
    fold: Annotated[
        bool,
        typer.Option("--fold/--no-fold", help="Fold the first projection into the tables, for speed."),
    ] = True,
    evaluate: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="Labeled rows to evaluate the bundle on; listed in its card under NAME. Repeatable.",
            show_default=False,
        ),
    ] = None,
    notes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Markdown file whose ## sections go into the card, e.g. data and licenses, biases, speed.",
            show_default=False,
        ),
    ] = None,
    parity_data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Texts to check against Keras.", show_default="the run's held-out rows"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")] = False,
    json: Json = False,
    vocabulary: Annotated[
        Path | None,
        elsewhere(
            metavar="FILE",
            help="Vocabulary: a Tokenizer's to_json(), or one token per line as from get_vocabulary().",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        elsewhere(
            metavar="NAMES", help="Labels in the order of the model's outputs, e.g. negative,positive."
        ),
    ] = None,
    text_rules: Annotated[
        Literal["tweets", "keras-tokenizer", "text-vectorization"] | None,
        elsewhere(
            metavar="NAME",
            help="Text rules of training, if neither the model nor the vocabulary names them: tweets,"
            " keras-tokenizer or text-vectorization.",
        ),
    ] = None,
    pad_to: Annotated[
        int | None,
        elsewhere(
            metavar="N",
            min=0,
            help="Length that texts were padded and truncated to (maxlen of pad_sequences); 0 for none.",
        ),
    ] = None,
    padding: Annotated[
        Literal["pre", "post"] | None,
        elsewhere(metavar="SIDE", help="Side that was padded: pre (the default of Keras) or post."),
    ] = None,
    truncating: Annotated[
        Literal["pre", "post"] | None,
        elsewhere(metavar="SIDE", help="Side that was truncated: pre (the default of Keras) or post."),
    ] = None,
) -> None:
    """Export a trained model to an ONNX bundle for sentstream score, checked against Keras.

    The graph uses only standard ONNX operators (opset 17). It is compared with Keras on
    tweets of every length: if a probability differs by more than 1e-5, nothing is
    written. An int8 recurrence is also refused if it changes more than 0.5 % of the
    labels or lowers a metric by more than 0.2 points.
    """
    with options.tensorflow():
        from sentstream.text import TextRules
        from sentstream_train.elsewhere.padding import Padding
        from sentstream_train.export.run import export
    padded = None
    if (pad_to, padding, truncating) != (None, None, None):
        padded = Padding(pad_to, padding, truncating)
    result = export(
        model,
        output,
        name=name,
        version=model_version,
        tables=tables,
        precision=precision,
        folded=fold,
        vocabulary=vocabulary,
        labels=options.split_names(labels),
        rules=None if text_rules is None else TextRules.preset(text_rules),
        padding=padded,
        evaluate=evaluate or (),
        notes=notes,
        parity_data=parity_data,
        overwrite=overwrite,
    )
    show(result, as_json=json)


def show(result: Export, *, as_json: bool) -> None:
    """Print the result of an export."""
    bundle = result.bundle
    if as_json:
        facts = {key: bundle.config[key] for key in ("name", "version", "labels", "parity", "metrics")}
        facts["reference"] = bundle.config.get("reference")
        facts |= {"digest": bundle.digest, "path": str(bundle.path), "bytes": bundle.size}
        speed = result.speed and dict(zip(("texts_a_second", "default_model"), result.speed, strict=True))
        print_json({**facts, "warnings": result.warnings, "notes": result.notes, "speed": speed})
        return
    console = open_console(highlight=False, soft_wrap=True)
    parity = bundle.config["parity"]
    console.print(
        f"bundle:  {bundle.path} ({bundle.size / 1e6:.1f} MB), {bundle.name} {bundle.version}", markup=False
    )
    console.print(f"digest:  {bundle.digest}")
    console.print(
        f"parity:  within {parity['max_abs_difference']:.1e} of {parity['against']} on {parity['rows']:,}"
        f" rows of {parity['shortest']} to {parity['longest']} tokens ({parity['of']})"
    )
    for note in result.notes:
        console.print(note, markup=False)
    if "unknown_words" in parity:
        console.print(
            f"labels:  {parity['labels_changed']} differ from Keras;"
            f" {parity['unknown_words']:.1%} of the words are unknown"
            + (f"; Keras gives no number for {parity['without_answer']}" if parity["without_answer"] else "")
        )
    if result.speed:
        exported, shipped = result.speed
        console.print(
            f"speed:   {exported:,.0f} texts/s per thread, {exported / shipped:.2f} × the model tweets"
        )
    if rounding := parity.get("rounding"):
        console.print(
            f"int8:    tables in int8 changed probabilities by {rounding['mean_abs_difference']:.4f} on"
            f" average, {rounding['max_abs_difference']:.4f} at most;"
            f" {rounding['labels_changed']} of {rounding['rows']:,} labels changed"
        )
    if moved := parity.get("precision"):
        console.print(
            f"int8:    products in int8 changed probabilities by {moved['mean_abs_difference']:.4f} on"
            f" average, {moved['max_abs_difference']:.4f} at most;"
            f" {moved['labels_changed']:,} of {moved['rows']:,} labels changed"
        )
    for rows, metrics in bundle.config["metrics"].items():
        console.print(
            f"scores:  {rows}: accuracy {100 * metrics['accuracy']:.2f} % of {metrics['n']:,}", markup=False
        )
    if bundle.reference is not None:
        console.print(f"drift:   measured against {bundle.reference}", markup=False)
    for warning in result.warnings:
        console.print(f"warning: {warning}")
    console.print(f"next:    sentstream score tweets.parquet --model {bundle.path}", markup=False)
