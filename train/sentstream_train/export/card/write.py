"""Write a bundle's model card (Mitchell et al. 2019): Markdown with the YAML front matter of model hubs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from sentstream.analyze.intervals import wilson
from sentstream.text import TextRules
from sentstream_train.config import FitConfig, NetworkConfig
from sentstream_train.export.card.figures import HELD_OUT
from sentstream_train.export.card.sections import Section, weave

#: The order of settings and versions in the card; a config that was read has them sorted by name.
_ORDER = (
    *(field.name for kind in (TextRules, NetworkConfig, FitConfig) for field in fields(kind)),
    *("thaw", "layer_decay", "stages", "sentstream", "python", "keras", "tensorflow"),
)


def write_card(config: Mapping[str, Any], notes: Sequence[Section] = ()) -> str:
    """The card of a bundle, from its config and hand-written notes.

    Args:
        config: The contents of the later ``config.json``.
        notes: Sections of the hand-written file (see ``weave``).
    """
    head = [
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
    ]
    for section in weave(list(_sections(config)), notes):
        head += [f"## {section.title}", "", *section.lines, *([""] if section.lines else [])]
    return "\n".join(head)


def _sections(config: Mapping[str, Any]) -> Iterator[Section]:
    """The generated sections, in order."""
    provenance = config["provenance"]
    yield Section("What it is", tuple(_network(config)))
    if warnings := provenance.get("warnings"):
        yield Section("Beware", tuple(f"- {warning}" for warning in warnings))
    yield Section("How good it is", tuple(_metrics(config["metrics"])))
    if "calibration" in provenance:
        yield Section("Calibration", tuple(_calibration(provenance["calibration"])))
    yield Section("Where it comes from", tuple(_provenance(provenance)))
    yield Section("Agreement with Keras", tuple(_parity(config["parity"], _tables(provenance))))
    limits = (
        "- It knows its labels and no others: any tweet gets one of them, in whatever language it is.",
        "- A probability says how sure the model is, not how strong the feeling is.",
        "- It carries what its training data carries, prejudice included: do not decide about people by it.",
        f"- It reads the first {config['limits']['max_chars']:,} characters of a text.",
    )
    yield Section("Limits", limits)


def _front_matter(config: Mapping[str, Any]) -> Iterator[str]:
    yield "---"
    yield "library_name: sentstream"
    yield "pipeline_tag: text-classification"
    yield "tags: [sentiment-analysis, tweets, rnn, onnx]"
    results = [(name, figures) for name, figures in config["metrics"].items() if "accuracy" in figures]
    if results:
        yield "model-index:"
        yield f"  - name: {_quoted(config['name'])}"
        yield "    results:"
        for name, figures in results:
            data = _quoted("held out in training" if name == HELD_OUT else name)
            yield "      - task: {type: text-classification}"
            yield f"        dataset: {{name: {data}, type: {data}}}"
            yield "        metrics:"
            for key, told in (("accuracy", "type: accuracy"), ("macro_recall", "type: recall")):
                if key in figures:
                    # The format has no field for the number of rows, so it is in the name.
                    title = _quoted(f"{key.replace('_', '-')} (n = {figures['n']:,})")
                    mean = ", args: {average: macro}" if key == "macro_recall" else ""
                    yield f"          - {{{told}, name: {title}{mean}, value: {figures[key]:.4f}}}"
    yield "---"


def _quoted(text: str) -> str:
    """A YAML string, quoted as JSON, which is valid YAML for any name."""
    return json.dumps(text, ensure_ascii=False)


def _listed(labels: Sequence[str]) -> str:
    return f"{', '.join(labels[:-1])} or {labels[-1]}"


def _network(config: Mapping[str, Any]) -> Iterator[str]:
    provenance, vocabulary = config["provenance"], config["vocabulary"]
    if "conversion" in provenance:
        parts = provenance["conversion"]["layers"]
    else:
        parts = _parts(provenance["network"])
    yield f"- Network: {' → '.join(parts)}; {provenance['parameters']:,} parameters"
    yield f"- Vocabulary: {vocabulary['words']:,} words, {vocabulary['pairs']:,} word pairs"
    yield f"- Text rules: {', '.join(f'{key} {_value(value)}' for key, value in _in_order(config['text']))}"
    made = f", made by {provenance['conversion']['by']}" if "conversion" in provenance else ""
    inputs = " and ".join(config["graph"]["inputs"])
    yield f"- Graph: ONNX, opset {config['graph']['opset']}, inputs {inputs}{made}"


def _parts(network: Mapping[str, Any]) -> list[str]:
    """The layers of a network from sentstream's own exporter."""
    parts = [f"look-up of width {network['width']} ({network['tables']})"]
    for layer in network["layers"]:
        if layer["kind"] == "recurrent":
            cell = {"simple": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}[layer["cell"]]
            both = "bidirectional " if layer["forward"] and layer["backward"] else ""
            bounded = "" if layer["activation"] == "tanh" else f" ({layer['activation']})"
            parts.append(f"{both}{cell} of {layer['units']} units{bounded}")
        elif layer["kind"] == "pooling":
            parts.append(f"{' and '.join(layer['parts'])} over time")
        else:
            parts.append(f"dense {layer['units']} ({layer['activation']})")
    return parts


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} words" if value else "none"
    if isinstance(value, str) and not (value and value.replace("-", "").isalnum()):
        return f"of {len(value)} characters" if value else "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _metrics(metrics: Mapping[str, Any]) -> Iterator[str]:
    if not metrics:
        yield "Nothing was measured when it was exported; `sentstream evaluate` does."
        return
    recalls = any("macro_recall_interval" in found for found in metrics.values())
    title = "macro-recall (95 % interval)" if recalls else "macro-recall"
    yield f"| rows of | n | accuracy | 95 % interval | {title} | macro-F1 | calibration error |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name, found in metrics.items():
        ends = found.get("interval")
        if ends is None:  # figures of a run: it records only accuracy and n
            ends = wilson(round(found["accuracy"] * found["n"]), found["n"])
        recall = f"{100 * found['macro_recall']:.2f}" if "macro_recall" in found else ""
        if "macro_recall_interval" in found:
            recall += f" ({_ends(found['macro_recall_interval'])})"
        cells = [
            "held out in training (Keras)" if name == HELD_OUT else _cell(name),
            f"{found['n']:,}",
            f"{100 * found['accuracy']:.2f} %",
            _ends(ends),
            recall,
            f"{100 * found['macro_f1']:.2f}" if "macro_f1" in found else "",
            f"{found['calibration_error']:.4f}" if "calibration_error" in found else "",
        ]
        yield f"| {' | '.join(cells)} |"
    sliced = {name: found["slices"] for name, found in metrics.items() if found.get("slices")}
    if sliced:
        yield ""
        yield (
            "And on parts of these rows; macro-recall is the mean over the labels that occur in the part. "
            "A row can be in several parts, and a small part says little: look at its interval."
        )
    for name, slices in sliced.items():
        yield ""
        yield f"### {name}"
        yield ""
        yield from _slices(slices)


def _slices(slices: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| | | n | accuracy | 95 % interval | macro-recall |"
    yield "|---|---|---:|---:|---:|---:|"
    group = None
    for one in slices:
        cells = [
            "" if one["group"] == group else _cell(one["group"]),
            _cell(one["name"]),
            f"{one['rows']:,}",
            f"{100 * one['accuracy']:.2f} %",
            _ends(one["interval"]),
            f"{100 * one['macro_recall']:.2f}",
        ]
        group = one["group"]
        yield f"| {' | '.join(cells)} |"


def _ends(interval: Sequence[float]) -> str:
    """An interval of two shares, in percent."""
    low, high = (f"{100 * end:.1f}" for end in interval)
    return f"{low}–{high}"


def _cell(text: str) -> str:
    """A name, escaped for a table cell."""
    return text.replace("|", "\\|")


def _calibration(calibration: Mapping[str, Any]) -> Iterator[str]:
    before, after = calibration["before"], calibration["after"]
    files = calibration.get("files", ())
    of_files = f" of {len(files)} files, each of which counts the same" if files else ""
    offsets = calibration.get("offsets", {})
    added = ", ".join(f"{value:+.4f} ({label})" for label, value in offsets.items())
    first = (
        f"So that labels that were rare in training are predicted as readily as others, {added} are added to"
        " the logits ([Menon et al. 2021](https://arxiv.org/abs/2007.07314)). They are then"
        if offsets
        else "Its logits are"
    )
    yield (
        f"{first} divided by a temperature of {calibration['temperature']:.4f}, fitted to "
        f"{calibration['n']:,} labeled rows{of_files} ([Guo et al. 2017](https://arxiv.org/abs/1706.04599))"
        f"{'' if offsets else '; the labels stay'}. On those rows, after: {calibration['after_is']}:"
    )
    yield ""
    yield "| | before | after |"
    yield "|---|---:|---:|"
    figures = {"macro_recall": "macro-recall", "log_loss": "log loss", "ece": "calibration error"}
    for key, title in ({**figures, "brier": "Brier score"}).items():
        if key not in after:
            continue
        yield f"| {title} | {before[key]:.4f} | {after[key]:.4f} |"
    yield ""
    if files:
        yield (
            "| rows of | n | the others' temperature | calibration error, before | after"
            f" | log loss, before | after |{' macro-recall, before | after |' if offsets else ''}"
        )
        yield "|---|---:|---:|---:|---:|---:|---:|" + ("---:|---:|" if offsets else "")
        keys = ("ece", "log_loss", *(["macro_recall"] if offsets else []))
        for one in files:
            numbers = (one[side][key] for key in keys for side in ("before", "after"))
            cells = (f"{one['n']:,}", f"{one['temperature']:.4f}", *(f"{number:.4f}" for number in numbers))
            yield f"| `{_cell(one['name'])}` | {' | '.join(cells)} |"
        yield ""
    for source in calibration["data"]:
        yield f"- Labeled rows of: `{source['name']}`, SHA-256 `{source['sha256']}`"
    yield f"- Before: {calibration['model']['name']} (`{calibration['model']['fingerprint']}`)"
    for one in calibration.get("earlier", ()):
        yield f"- It had been calibrated before: temperature {one['temperature']:.4f}, {one['n']:,} rows"


def _provenance(provenance: Mapping[str, Any]) -> Iterator[str]:
    if "file" in provenance:
        file = provenance["file"]
        yield f"- A Keras model trained elsewhere: `{file['name']}`, SHA-256 `{file['sha256']}`"
        if "preprocessing" in file:
            yield f"- Its texts became token ids by: {file['preprocessing']}"
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
            told = [(name, value) for name, value in _in_order(provenance[key]) if name != "fingerprint"]
            settings = ", ".join(f"{name} {_setting(value)}" for name, value in told)
            yield f"- {title}: {settings}"
    for teacher in provenance.get("teachers", ()):
        fingerprint = f" (`{teacher['fingerprint']}`)" if teacher["fingerprint"] else " of the data"
        yield f"- Learned beside the labels from: {teacher['name']}{fingerprint}"
    if "embeddings" in provenance:
        vectors = provenance["embeddings"]
        yield (
            f"- Words began with the vectors of `{vectors['name']}`, which has {vectors['words']:,} of"
            f" {vectors['of_words']:,}, SHA-256 `{vectors['sha256']}`"
        )
    for file in provenance.get("held_out", ()):
        yield f"- Rows that repeat one of `{file['name']}` were left out"
    if "from" in provenance:
        yield from _before(provenance["from"])
    if "versions" in provenance:
        versions = (f"{name} {version}" for name, version in _in_order(provenance["versions"]))
        yield f"- Versions: {', '.join(versions)}"
    if "finished" in provenance and "training" in provenance:
        yield f"- Trained: {provenance['finished']}"


def _before(earlier: Mapping[str, Any]) -> Iterator[str]:
    """The line about the original model of a fine-tuning."""
    data = ", ".join(f"`{source['name']}` ({source['rows']:,} rows)" for source in earlier.get("data", ()))
    learned = f", which learned {', '.join(earlier['labels'])}{f' of {data}' if data else ''}"
    teachers = ", ".join(teacher["name"] for teacher in earlier.get("teachers", ()))
    yield f"- Started from: {earlier['name']}{learned}{f' beside {teachers}' if teachers else ''}"


def _in_order(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    place = {name: number for number, name in enumerate(_ORDER)}
    return sorted(values.items(), key=lambda item: place.get(item[0], len(place)))


def _setting(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={weight:g}" for name, weight in value.items())
    return "×".join(map(str, value)) if isinstance(value, list) else str(value)


def _tables(provenance: Mapping[str, Any]) -> str | None:
    """How the look-up tables are stored; None for a graph from tf2onnx."""
    tables: str | None = provenance.get("network", {}).get("tables")
    return tables


def _parity(parity: Mapping[str, Any], tables: str | None) -> Iterator[str]:
    yield (
        f"Largest difference of a probability from {parity['against']}: {parity['max_abs_difference']:.1e}, "
        f"on {parity['rows']:,} rows ({parity['of']}) of {parity['shortest']} to {parity['longest']} tokens; "
        f"{parity['tolerance']:.0e} is allowed."
    )
    if "unknown_words" in parity:
        yield ""
        missing = parity["without_answer"]
        yield (
            f"Labels that differ: {parity['labels_changed']:,}. Words that it does not know: "
            f"{parity['unknown_words']:.1%}."
            + (f" Texts that Keras gives no number: {missing:,}." if missing else "")
        )
    if "rounding" in parity:
        found = parity["rounding"]
        yield ""
        yield (
            "The tables are stored as int8 and were compared as stored. Rounding them moved a probability by "
            f"{found['mean_abs_difference']:.4f} on average and {found['max_abs_difference']:.4f} at most, "
            f"and changed the label of {found['labels_changed']:,} of those {found['rows']:,} rows."
        )
    elif tables == "int8":
        yield ""
        yield "The tables are stored as int8, as they were in the model before: nothing was rounded."
    if "precision" in parity:
        yield from _precision(parity["precision"])


def _precision(found: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield (
        "The products of the recurrence run in int8, on whole numbers, which are the same on every CPU. "
        f"Beside {found['against']}, a probability moved by {found['mean_abs_difference']:.4f} on average "
        f"and {found['max_abs_difference']:.4f} at most:"
    )
    yield ""
    yield "| rows of | n | labels changed | accuracy, fp32 | int8 | macro-recall, fp32 | int8 |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    names = ("accuracy_fp32", "accuracy_int8", "macro_recall_fp32", "macro_recall_int8")
    for one in found["on"]:
        figures = " | ".join(f"{100 * one[name]:.2f} %" if name in one else "" for name in names)
        yield f"| {one['of']} | {one['rows']:,} | {one['labels_changed']:,} | {figures} |"
