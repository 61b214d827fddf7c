"""The page of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from sentstream.report.charts import confidence_histogram, intervals, reliability
from sentstream.report.markup import Html, join, tag
from sentstream.report.page import columns, figure, file_table, render_page, section, table, tiles
from sentstream.report.words import (
    NOTHING,
    Data,
    count,
    evaluation_rows,
    headline,
    interval,
    model_facts,
    percent,
)


def evaluation_page(data: Data) -> str:
    """A page that stands alone.

    Args:
        data: What ``sentstream evaluate --json`` prints.
    """
    metrics, model = data["metrics"], data["model"]
    return render_page(
        f"{model['name']}: how good is it?",
        f"Judged on {count(metrics['rows'])} labeled rows; {count(metrics['correct'])} are right.",
        tiles(headline(metrics)),
        section(
            "Model and rows",
            columns(table((), model_facts(model), (1,)), table((), evaluation_rows(data["rows"]))),
        ),
        section("Files", file_table(data["files"])),
        section(
            "Labels",
            columns(
                tag(
                    "div",
                    confusion_table(model["labels"], metrics["confusion"]),
                    tag("p", "Rows by the label they have and the one they were given.", class_="note"),
                ),
                class_table(metrics["classes"]),
            ),
        ),
        *([_calibration(metrics["calibration"])] if metrics["calibration"] else []),
        *([_baselines(data)] if data["baselines"] else []),
        _sources(),
        version=data["sentstream"],
    )


def confusion_table(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> Html:
    """Rows of ``[true][predicted]``, the darker the larger their share of the true label."""
    head = tag("tr", tag("td"), *(tag("th", f"given {label}", scope="col") for label in labels))
    rows = []
    for place, (label, counts) in enumerate(zip(labels, confusion, strict=True)):
        total = sum(counts)
        cells = [
            tag(
                "td",
                count(number),
                tag("small", percent(number / total if total else None, 1)),
                class_="hit" if column == place else None,
                style=f"--share: {number / total if total else 0:.4f}",
            )
            for column, number in enumerate(counts)
        ]
        rows.append(tag("tr", tag("th", f"is {label}", scope="row"), *cells))
    body = tag("table", tag("thead", head), tag("tbody", *rows), class_="heat")
    return tag("div", body, class_="scroll")


def class_table(classes: Sequence[Data]) -> Html:
    """Each label's figures."""
    return table(
        ("label", "rows", "given", "precision", "recall", "F1"),
        [
            (
                one["label"],
                count(one["support"]),
                count(one["predicted"]),
                *(percent(one[name]) for name in ("precision", "recall", "f1")),
            )
            for one in classes
        ],
    )


def _calibration(calibration: Data) -> Html:
    bins = calibration["bins"]
    return section(
        "Does the score mean what it says?",
        columns(
            figure(
                reliability(bins),
                "Reliability: a dot on the dashed line is a group of rows whose accuracy is what the score"
                " promised; below it the model is too sure. Larger dots are more rows.",
            ),
            figure(
                confidence_histogram(bins),
                "Rows by the probability of the label they were given; red: the wrong label.",
            ),
        ),
    )


def _baselines(data: Data) -> Html:
    metrics, judged = data["metrics"], [one for one in data["baselines"] if one["metrics"]]
    systems = [(data["model"]["name"], metrics)] + [(one["name"], one["metrics"]) for one in judged]
    rows = [
        (
            data["model"]["name"],
            percent(metrics["accuracy"]),
            NOTHING,
            percent(metrics["macro_f1"]),
            "the model",
        )
    ]
    for one in data["baselines"]:
        if one["metrics"]:
            ends = interval(one["comparison"]["interval"], signed=True)
            figures = (percent(one["metrics"]["accuracy"]), ends, percent(one["metrics"]["macro_f1"]))
        else:
            figures = (NOTHING, NOTHING, NOTHING)
        rows.append((one["name"], *figures, one["method"]))
    return section(
        "Against baselines",
        figure(
            intervals([(name, one["accuracy"], tuple(one["interval"])) for name, one in systems]),
            "Accuracy on the same rows, with 95 % intervals.",
        ),
        table(("system", "accuracy", "the model's lead", "macro-F1", "how it was made"), rows, (4,)),
        tag(
            "p",
            "The lead is the 95 % interval of the model's accuracy minus the other's, the rows being paired:"
            " where it holds 0, the rows do not tell the two apart.",
            class_="note",
        ),
    )


def _sources() -> Html:
    facts = (
        ("accuracy", "share of the rows that are right; its interval is Wilson's (1927)"),
        (
            "macro-recall, macro-F1",
            "means over the labels that occur; macro-recall ranks SemEval-2017 task 4A",
        ),
        ("calibration error", "gap between score and accuracy over 15 bins (Guo et al. 2017)"),
        ("log loss", "mean negative logarithm of the true label's probability"),
        ("Brier score", "squared distance of the probabilities from the truth, 0 to 2 (Brier 1950)"),
    )
    return section("What the figures mean", join([table((), facts, (1,))]))
