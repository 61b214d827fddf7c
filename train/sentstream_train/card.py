"""The model card: Markdown with YAML front matter, as model hubs read it (Mitchell et al. 2019)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def write_card(config: Mapping[str, Any], warnings: Sequence[str] = ()) -> str:
    """The card of a bundle, all of it from its config.

    Args:
        config: What ``config.json`` will hold.
        warnings: What its user should know.
    """
    provenance = config["provenance"]
    lines = [
        *_front_matter(config),
        "",
        f"# {config['name']}",
        "",
        f"Labels each tweet {_listed(config['labels'])}, with a probability for each label. "
        f"Version {config['version']}, exported by sentstream.",
        "",
        "```sh",
        f"sentstream score tweets.parquet --model {config['name']}  # or the path of this directory",
        "```",
        "",
        "## What it is",
        "",
        *_network(config),
        "",
    ]
    if warnings:
        lines += ["## Beware", "", *(f"- {warning}" for warning in warnings), ""]
    lines += ["## How good it is", "", *_metrics(config["metrics"]), ""]
    lines += ["## Where it comes from", "", *_provenance(provenance), ""]
    lines += ["## Agreement with Keras", "", *_parity(config["parity"]), ""]
    lines += [
        "## Limits",
        "",
        "- It knows its labels and no others: any tweet gets one of them, in whatever language it is.",
        "- A probability says how sure the model is, not how strong the feeling is.",
        "- It carries what its training data carries, prejudice included: do not decide about people by it.",
        f"- It reads the first {config['limits']['max_chars']:,} characters of a text.",
        "",
    ]
    return "\n".join(lines)


def _front_matter(config: Mapping[str, Any]) -> Iterator[str]:
    yield "---"
    yield "library_name: sentstream"
    yield "pipeline_tag: text-classification"
    yield "tags: [sentiment-analysis, tweets, rnn, onnx]"
    results = [(name, figures) for name, figures in config["metrics"].items() if "accuracy" in figures]
    if results:
        # JSON is YAML, and quotes what a name could break.
        yield "model-index:"
        yield f"  - name: {json.dumps(config['name'])}"
        yield "    results:"
        for name, figures in results:
            yield "      - task: {type: text-classification}"
            yield f"        dataset: {{name: {json.dumps(name)}, type: {json.dumps(name)}}}"
            yield f"        metrics: [{{type: accuracy, value: {figures['accuracy']:.4f}}}]"
    yield "---"


def _listed(labels: Sequence[str]) -> str:
    return f"{', '.join(labels[:-1])} or {labels[-1]}"


def _network(config: Mapping[str, Any]) -> Iterator[str]:
    network, vocabulary = config["provenance"]["network"], config["vocabulary"]
    parts = [f"look-up of width {network['width']} ({network['tables']})"]
    for layer in network["layers"]:
        if layer["kind"] == "recurrent":
            cell = {"simple": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}[layer["cell"]]
            both = "bidirectional " if layer["forward"] and layer["backward"] else ""
            parts.append(f"{both}{cell} of {layer['units']} units")
        elif layer["kind"] == "pooling":
            parts.append(f"{' and '.join(layer['parts'])} over time")
        else:
            parts.append(f"dense {layer['units']} ({layer['activation']})")
    yield f"- Network: {' → '.join(parts)}; {config['provenance']['parameters']:,} parameters"
    yield f"- Vocabulary: {vocabulary['words']:,} words, {vocabulary['pairs']:,} word pairs"
    yield f"- Text rules: {', '.join(f'{key} {_value(value)}' for key, value in config['text'].items())}"
    yield f"- Graph: ONNX, opset {config['graph']['opset']}, inputs {' and '.join(config['graph']['inputs'])}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} words" if value else "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _metrics(metrics: Mapping[str, Any]) -> Iterator[str]:
    if not metrics:
        yield "Nothing was measured when it was exported; `sentstream evaluate` does."
        return
    yield "| rows of | n | accuracy | 95 % interval | macro-recall | macro-F1 | calibration error |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name, found in metrics.items():
        low, high = (f"{100 * edge:.1f}" for edge in found.get("interval", (0, 0)))
        cells = [
            "held out in training (Keras)" if name == "validation" else name,
            f"{found['n']:,}",
            f"{100 * found['accuracy']:.2f} %",
            f"{low}–{high}" if "interval" in found else "",
            *(f"{100 * found[key]:.2f}" if key in found else "" for key in ("macro_recall", "macro_f1")),
            f"{found['calibration_error']:.4f}" if "calibration_error" in found else "",
        ]
        yield f"| {' | '.join(cells)} |"


def _provenance(provenance: Mapping[str, Any]) -> Iterator[str]:
    if "file" in provenance:
        file = provenance["file"]
        yield f"- A Keras model trained elsewhere: `{file['name']}`, SHA-256 `{file['sha256']}`"
    if "bundle" in provenance:
        before = provenance["bundle"]
        yield f"- Fine-tuned from {before['name']} {before['version']} (`{before['digest']}`)"
    for source in provenance.get("data", ()):
        yield f"- Data: `{source['name']}`, {source['rows_used']:,} rows, SHA-256 `{source['sha256']}`"
    rows = provenance.get("rows")
    if rows:
        yield (
            f"- Rows: {rows['train']:,} to train on, {rows['validation']:,} held out; left out: "
            f"{rows['blank']:,} blank, {rows['conflicting']:,} with conflicting labels, "
            f"{rows['duplicates']:,} duplicates"
        )
    for title, key in (("Network", "architecture"), ("Training", "training"), ("Fine-tuning", "fine_tuning")):
        if key in provenance:
            settings = ", ".join(f"{name} {_setting(value)}" for name, value in provenance[key].items())
            yield f"- {title}: {settings}"
    for teacher in provenance.get("teachers", ()):
        yield f"- Learned beside the labels from: {teacher['name']} (`{teacher['fingerprint']}`)"
    if "versions" in provenance:
        versions = (f"{name} {version}" for name, version in provenance["versions"].items())
        yield f"- Versions: {', '.join(versions)}"
    if "finished" in provenance:
        yield f"- Trained: {provenance['finished']}"


def _setting(value: Any) -> str:
    return "×".join(map(str, value)) if isinstance(value, list) else str(value)


def _parity(parity: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"Largest difference of a probability from {parity['against']}: {parity['max_abs_difference']:.1e}, "
        f"on {parity['rows']:,} rows ({parity['of']}) of {parity['shortest']} to {parity['longest']} tokens; "
        f"{parity['tolerance']:.0e} is allowed."
    )
    if "rounding" in parity:
        found = parity["rounding"]
        yield ""
        yield (
            "The tables are stored as int8 and were compared as stored. Rounding them moved a probability by "
            f"{found['mean_abs_difference']:.4f} on average and {found['max_abs_difference']:.4f} at most, "
            f"and changed the label of {found['labels_changed']:,} of those {found['rows']:,} rows."
        )
