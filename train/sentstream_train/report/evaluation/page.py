"""The page of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from sentstream.markup import Html, join, tag
from sentstream.report.page import (
    Section,
    columns,
    figure,
    file_table,
    heat_table,
    render_page,
    section,
    table,
    tiles,
)
from sentstream.report.words import (
    NOTHING,
    Data,
    count,
    evaluation_rows,
    headline,
    interval,
    macro_recall,
    model_facts,
    percent,
)
from sentstream_train.report.charts import confidence_histogram, intervals, reliability
from sentstream_train.report.evaluation.rows import (
    own_calibration_words,
    recalibration_rows,
    recalibration_words,
)
from sentstream_train.report.evaluation.sections import (
    coverage_section,
    error_section,
    slice_section,
    versus_section,
)


def evaluation_page(data: Data) -> str:
    """The page as one self-contained HTML file.

    Args:
        data: The output of ``sentstream evaluate --json``.
    """
    metrics, model = data["metrics"], data["model"]
    narrowed = bool(model.get("set_aside"))
    chose = f" Only the labels {', '.join(model['labels'])} were allowed." if narrowed else ""
    return render_page(
        f"Evaluation of {model['name']}",
        f"{count(metrics['correct'])} of {count(metrics['rows'])} labeled rows are correct.{chose}",
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
                    heat_table(
                        [f"is {label}" for label in model["labels"]],
                        [f"predicted {label}" for label in model["labels"]],
                        metrics["confusion"],
                        "rows by true and predicted label",
                    ),
                    tag("p", "Rows by true and predicted label.", class_="note"),
                ),
                class_table(metrics["classes"]),
            ),
        ),
        *([slice_section(data)] if data["slices"] else []),
        *([_calibration(data)] if metrics["calibration"] else []),
        coverage_section(data["coverage"]),
        *([versus_section(data["comparisons"], model["name"])] if data["comparisons"] else []),
        *([_baselines(data)] if data["baselines"] else []),
        *([error_section(data)] if data["worst"] else []),
        _sources(),
        version=data["sentstream"],
    )


def class_table(classes: Sequence[Data]) -> Html:
    """The table of each label's figures."""
    return table(
        ("label", "rows", "predicted", "precision", "recall", "F1"),
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


def _calibration(data: Data) -> Section:
    before, after = data["metrics"]["calibration"], data["recalibration"]["calibration"]
    charts = [
        figure(
            reliability(before["bins"]),
            "Reliability: each dot is a group of rows, larger for more rows. On the dashed line, accuracy"
            " equals the score; below it, the model is overconfident.",
        ),
        figure(
            confidence_histogram(before["bins"]),
            "Rows by the probability of the predicted label; red: wrong.",
        ),
    ]
    words = tag("p", recalibration_words(data["recalibration"]), class_="note")
    own = [_own_calibration(data["model"]["calibration"])] if "calibration" in data["model"] else []
    if not after:
        return section("Calibration", columns(*charts), words, *own)
    head = ("", "as is", "with temperature")
    return section(
        "Calibration",
        columns(
            *charts,
            figure(
                reliability(after["bins"]), "Reliability with the temperature, as after sentstream calibrate."
            ),
            tag(
                "div",
                table(head, recalibration_rows(before, after)),
                words,
                *own,
            ),
        ),
    )


def _own_calibration(calibration: Data) -> Html:
    rows = recalibration_rows(calibration["before"], calibration["after"])
    return tag(
        "div",
        table(("", "before calibration", "after"), rows),
        tag("p", own_calibration_words(calibration), class_="note"),
    )


def _baselines(data: Data) -> Section:
    metrics, judged = data["metrics"], [one for one in data["baselines"] if one["metrics"]]
    systems = [(data["model"]["name"], metrics)] + [(one["name"], one["metrics"]) for one in judged]
    macro = ("macro-recall", "95 % interval", "macro-F1")
    head = ("system", "accuracy", "the model's lead", *macro, "method")
    rows = [
        (
            data["model"]["name"],
            percent(metrics["accuracy"]),
            NOTHING,
            *macro_recall(metrics),
            percent(metrics["macro_f1"]),
            "the model",
        )
    ]
    for one in data["baselines"]:
        if one["metrics"]:
            ends = interval(one["comparison"]["interval"], signed=True)
            own = one["metrics"]
            figures = (percent(own["accuracy"]), ends, *macro_recall(own), percent(own["macro_f1"]))
        else:
            figures = (NOTHING,) * 5
        rows.append((one["name"], *figures, one["method"]))
    return section(
        "Against baselines",
        figure(
            intervals([(name, one["accuracy"], tuple(one["interval"])) for name, one in systems]),
            "Accuracy on the same rows, with 95 % intervals.",
        ),
        table(head, rows, (6,)),
        tag(
            "p",
            "Lead: 95 % interval of the model's accuracy minus the baseline's, with paired rows. If it"
            " contains 0, these rows do not tell the two apart.",
            class_="note",
        ),
    )


def _sources() -> Section:
    facts = (
        ("accuracy", "share of correct rows, with a Wilson interval (1927)"),
        (
            "macro-recall, macro-F1",
            "means over the labels that occur; macro-recall is the metric of SemEval-2017 task 4A; its"
            " interval is from 1,000 bootstrap resamples of the confusion matrix (Efron and Tibshirani 1993)",
        ),
        ("calibration error", "gap between score and accuracy over 15 bins (Guo et al. 2017)"),
        ("log loss", "mean negative logarithm of the true label's probability"),
        ("Brier score", "squared distance of the probabilities from the truth, 0 to 2 (Brier 1950)"),
        (
            "temperature",
            "divides the logarithms of the probabilities; fitted to the log loss (Guo et al. 2017)",
        ),
        ("coverage", "share of the rows that get a label (El-Yaniv and Wiener 2010)"),
        ("McNemar's test", "compares the rows that only one of two models gets right (McNemar 1947)"),
        (
            "intervals of differences",
            "accuracy: paired, Wald; macro-recall: 1,000 paired bootstrap resamples (Efron 1979)",
        ),
    )
    return section("What the figures mean", join([table((), facts, (1,))]))
