"""The sections of an analysis's page."""

from __future__ import annotations

from collections.abc import Sequence

from sentstream.markup import Html, tag
from sentstream.report.charts import label_kinds, whisker
from sentstream.report.page import (
    Section,
    columns,
    figure,
    folded,
    heat_table,
    legend,
    section,
    share_cell,
    table,
)
from sentstream.report.sentiment.charts import score_histogram, share_bar
from sentstream.report.sentiment.figures import (
    DRIFT_HEAD,
    FEW,
    change_rows,
    drift_rows,
    figures_head,
    figures_row,
    group_name,
    grouping_words,
    is_valued,
    labels_shown,
    languages_words,
    model_words,
    quality_rows,
    rest_name,
    row_count_text,
    share_interval,
    share_of,
    signed,
    signed_interval,
    timeline_words,
    training_words,
)
from sentstream.report.sentiment.time_charts import rows_over_time, shares_over_time, value_over_time
from sentstream.report.words import NOTHING, Data, count, percent

_KINDS = {
    "positive": "The most positive",
    "negative": "The most negative",
    "uncertain": "The least certain",
}
_VALUE = "Value: P(positive) − P(negative), from −1 to +1."
_SHADED = "shaded: 95 % interval"
#: Displayed names of the text path's masks.
_MASKS = {"@u": "@… (a name)", "@url": "(a link)"}


def several_models(data: Data) -> Section:
    """The rows of each model, if there are several models."""
    labels, valued = labels_shown(data), is_valued(data)
    rows = [
        (model_words(one["model"]), count(one["files"]), *figures_row(one["figures"], labels, valued=valued))
        for one in data["scores"]["models"]
    ]
    return section(
        "Several models",
        tag(
            "p",
            "These files were scored by different models, or with different settings. The figures below mix"
            " them, so a change may come from the model.",
            class_="warning",
        ),
        table(("model", "files", *figures_head(labels, valued=valued)), rows),
    )


def over_time(data: Data) -> Section:
    """The charts over time, and the table behind them."""
    timeline, labels, valued = data["time"], labels_shown(data), is_valued(data)
    note = tag("p", timeline_words(timeline), class_="note")
    if not any(bucket["figures"] and bucket["figures"]["labeled"] for bucket in timeline["buckets"]):
        return section("Over time", note)
    rows = [
        (bucket["label"], *figures_row(bucket["figures"], labels, valued=valued))
        for bucket in timeline["buckets"]
    ]
    head = (timeline["bucket"], *figures_head(labels, valued=valued))
    means = [_wide(value_over_time(timeline), f"Mean value; {_SHADED}.")] if valued else []
    return section(
        "Over time",
        note,
        *means,
        _legend(labels, lines=True),
        _wide(shares_over_time(timeline, labels), f"Share of each label; {_SHADED}."),
        _wide(rows_over_time(timeline), "Rows with a label."),
        folded(
            f"The figures of all {count(len(rows))} buckets",
            tag("div", table(head, rows), class_="figures stamps"),
        ),
    )


def by_group(data: Data, grouping: Data) -> Section:
    """A table row per group, with its shares as a bar and its value as a whisker."""
    labels, valued = labels_shown(data), is_valued(data)
    named = [(group_name(group["name"]), group["figures"]) for group in grouping["groups"]]
    if grouping["rest"] is not None:
        named.append((rest_name(grouping), grouping["rest"]))
    scale = _value_scale([figures for _, figures in named])
    rows = []
    for name, figures in named:
        pale, kind = ("few", "other") if figures["few"] else (None, "model")
        cells: list[str] = [tag("th", name, scope="row", dir="auto")]
        cells.append(_few_cell(figures))
        cells.append(tag("td", share_bar(figures, labels), class_="range"))
        cells += [_share_with_ends(figures, label) for label in labels]
        if valued and figures["value"] is not None:
            ends = figures["value_interval"]
            cells += [
                tag("td", signed(figures["value"]), tag("small", signed_interval(ends)), class_=pale),
                tag("td", whisker(figures["value"], ends, scale, 0.0, kind=kind), class_="range"),
            ]
        elif valued:
            cells += [NOTHING, ""]
        rows.append(cells)
    head = [grouping["column"], "rows", "shares", *labels]
    if valued:
        head += ["value", f"{signed(scale[0], 1)} to {signed(scale[1], 1)}"]
    return section(
        f"By {grouping['column']}",
        tag("p", grouping_words(grouping), class_="note"),
        _legend(labels),
        tag("div", table(head, rows, (2,)), class_="figures"),
        tag("p", "Small print: 95 % interval. Paler groups have few rows: unreliable.", class_="note"),
    )


def labels_and_scores(data: Data) -> Section:
    """The labels' shares, and the distributions of scores and values."""
    scores, labels = data["scores"], labels_shown(data)
    figures = scores["figures"]
    means = dict(zip(data["labels"], scores["probabilities"], strict=True))
    kinds = dict(zip(labels, label_kinds(labels), strict=True))
    rows = [
        (
            share["label"],
            count(share["rows"]),
            share_cell(share["share"], percent(share["share"], 1), kinds[share["label"]]),
            share_interval(share["interval"]),
            percent(means.get(share["label"]), 1),
        )
        for share in figures["shares"]
    ]
    charts = []
    if scores["values"] is not None:
        charts.append(
            figure(
                score_histogram(scores["values"], labels, "value"),
                "Rows by their value, P(positive) − P(negative).",
            )
        )
    charts.append(
        figure(
            score_histogram(scores["scores"], labels, "highest probability"),
            "Rows by the probability of their label: further left is less certain.",
        )
    )
    behind = [
        tag("div", table((title, *histogram["labels"]), _histogram_rows(histogram)), class_="figures stamps")
        for title, histogram in (("value", scores["values"]), ("highest probability", scores["scores"]))
        if histogram is not None
    ]
    return section(
        "Labels and scores",
        table(("label", "rows", "share", "95 % interval", "mean probability"), rows),
        tag(
            "p",
            "Share: the rows with this label. Mean probability: the label's probability averaged over all"
            " rows, which also reflects confidence. If the two are far apart, the model is often unsure.",
            class_="note",
        ),
        _legend(labels),
        columns(*charts),
        folded("The figures behind the charts", *behind),
    )


def words(data: Data) -> Section:
    """The words of each label side by side."""
    found = data["words"]
    kinds = dict(zip(labels_shown(data), label_kinds(labels_shown(data)), strict=True))
    parts = []
    for one in found["labels"]:
        top = max((word["z"] for word in one["words"]), default=1.0)
        rows = [
            (
                _MASKS.get(word["word"], word["word"]),
                count(word["count"]),
                count(word["elsewhere"]),
                share_cell(word["z"] / top, f"{word['z']:.1f}", kinds[one["label"]]),
            )
            for word in one["words"]
        ]
        content = (
            table((one["label"], "here", "elsewhere", "z"), rows)
            if rows
            else tag("p", f"No word is typical enough of {one['label']}.", class_="note")
        )
        parts.append(content)
    drawn = found["of"] > found["rows"]
    sample = f" Counted in a sample of {count(found['rows'])} of {count(found['of'])} rows." if drawn else ""
    return section(
        "Words that set the labels apart",
        columns(*parts, slim=True),
        tag(
            "p",
            "z: how much more often the word occurs with the label than elsewhere, in standard"
            " deviations: log odds with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008)."
            f" Words with fewer than 5 occurrences, or with z below 1.96, are left out.{sample} A word that"
            " goes with a label does not have to be its cause.",
            class_="note",
        ),
    )


def texts(data: Data) -> Section:
    """The example rows as lists."""
    parts = []
    for one in data["examples"]:
        title = _KINDS.get(one["kind"], f"The most confident {one['kind']}")
        items = [tag("li", *_example(example, data)) for example in one["rows"]]
        parts.append(tag("div", tag("h3", title), tag("ol", *items, class_="texts")))
    return section(
        "Texts",
        *([tag("p", _VALUE, class_="note")] if is_valued(data) else []),
        columns(*parts),
        tag(
            "p",
            "User names, addresses and links are masked; repeated texts are shown once.",
            class_="note",
        ),
    )


def _example(example: Data, data: Data) -> list[Html]:
    facts = []
    if example["before"] is not None:
        if example["before"] != example["label"]:
            facts.append(f"{example['before']} → {example['label']}")
        else:
            facts.append(example["label"])
        if example["value"] is not None:
            facts.append(f"value {signed(example['value_before'])} → {signed(example['value'])}")
    else:
        highest = max(example["probabilities"], default=0.0)
        facts.append(f"{example['label']} {percent(highest, 1)}")
        if example["value"] is not None:
            facts.append(f"value {signed(example['value'])}")
    if example["time"] is not None:
        facts.append(example["time"])
    facts += [name for name in example["groups"] if name]
    if example["row"] is not None:
        where = f"{_short(example['file'])}, " if data["scores"]["files"] > 1 else ""
        facts.append(f"{where}row {count(example['row'])}")
    return [tag("p", example["text"], dir="auto"), tag("p", " · ".join(facts), class_="note")]


def compared(data: Data) -> Section:
    """The comparison with the "before" rows."""
    comparison = data["comparison"]
    before, after = comparison["before"], data["scores"]
    rows = change_rows(comparison["shares"])
    if before["values"] is not None and after["values"] is not None:
        means = [one["figures"]["value"] for one in (before, after)]
        moved = means[1] - means[0] if None not in means else None
        rows.append(("mean value", signed(means[0]), signed(means[1]), signed(moved), NOTHING))
    name = before["names"][0].rstrip("/\\")
    model = model_words(before["models"][0]["model"])
    same = (
        "Both have the same rows in the same order, so only the scoring changed."
        if comparison["paired"]
        else f"The rows differ ({comparison['apart']}), so both texts and scores may have changed."
    )
    parts: list[Html] = [
        tag("p", f"Before: {_short(name)}, {count(before['figures']['rows'])} rows, model {model}. {same}"),
        table(("", "before", "now", "difference", "95 % interval"), rows),
        tag("p", "Differences of shares are in percentage points.", class_="note"),
    ]
    if comparison["drift"]:
        parts += [tag("h3", "Drift"), *_drift(comparison["drift"])]
    if comparison["agreement"] is not None:
        parts += _agreement(comparison["agreement"], data)
    return section(f"Compared with {_short(name)}", *parts)


def against_training(data: Data) -> Section:
    """The comparison with the rows held out in the model's training."""
    training = data["training"]
    parts = [tag("p", training_words(data), class_=None if training["drift"] else "note")]
    if training["drift"]:
        parts += [
            table(("", "held out", "here", "difference", "95 % interval"), change_rows(training["shares"])),
            tag("p", "Differences of shares are in percentage points.", class_="note"),
            *_drift(training["drift"]),
            tag(
                "p",
                "The model's measured accuracy applies to rows like those held out. If your rows differ much,"
                " evaluate the model on your own labeled rows with sentstream evaluate.",
                class_="note",
            ),
        ]
    return section("Drift from the training data", *parts)


def _drift(drift: Sequence[Data]) -> list[Html]:
    return [
        table(DRIFT_HEAD, drift_rows(drift), (2,)),
        tag(
            "p",
            "Population stability index (PSI): below 0.1 is little drift, above 0.25 is much (Siddiqi 2006)."
            " Jensen–Shannon divergence: 0 is identical, 1 is no overlap.",
            class_="note",
        ),
    ]


def _agreement(agreement: Data, data: Data) -> list[Html]:
    names = [name or "without a label" for name in agreement["labels"]]
    parts = [tag("h3", "Label changes")]
    if agreement["rows"]:
        kappa = "" if agreement["kappa"] is None else f"; Cohen’s κ {agreement['kappa']:.3f}"
        share = agreement["same"] / agreement["rows"]
        parts.append(
            tag(
                "p",
                f"{percent(share, 1)} of {count(agreement['rows'])} rows keep their label"
                f" (95 %: {share_interval(agreement['interval'])}){kappa}.",
            )
        )
    parts.append(
        heat_table(
            [f"was {name}" for name in names],
            [f"is {name}" for name in names],
            agreement["counts"],
            "rows by the label before and now",
        )
    )
    if agreement["changed"]:
        items = [tag("li", *_example(example, data)) for example in agreement["changed"]]
        parts += [tag("h3", "Texts that changed most"), tag("ol", *items, class_="texts")]
    return parts


def certainty(data: Data) -> Section:
    """The limits of all figures on the page."""
    measured = data["measured"]
    words = (
        "The intervals cover sampling error only: how much a figure would vary with other rows. They do not"
        " cover the model’s own errors, which more rows do not reduce."
    )
    if measured:
        right = [one["accuracy"] for one in measured]
        errors = [one["calibration_error"] for one in measured]
        words += (
            f" On labeled tweets, this model’s accuracy was {_range(right)}, and its scores were off by"
            f" {_range(errors)} on average (calibration error). Expect a share to be off by about as much on"
            " texts like those, and by more on others. A smaller difference between two groups or two days"
            " may come from the model, however narrow its interval."
        )
    else:
        words += (
            " Their size is unknown here, because there are no metrics of the model. Evaluate the model on"
            " your own labeled rows with sentstream evaluate: a share may be off by about its calibration"
            " error there."
        )
    words += (
        " The intervals assume independent rows. Retweets and frequent authors violate that, so the true"
        " intervals are wider."
    )
    rows = [
        (one["data"], count(one["rows"]), percent(one["accuracy"], 1), percent(one["calibration_error"], 1))
        for one in measured
    ]
    head = ("labeled rows", "rows", "accuracy", "calibration error")
    return section("How certain is this?", tag("p", words), *([table(head, rows)] if rows else []))


def quality(data: Data) -> Section:
    """The data quality of the rows."""
    rows = quality_rows(data)
    if data["where"] is not None:
        rows.insert(0, ("left out by --where", count(data["left_out"])))
    notes = []
    if data["quality"] is None:
        notes.append("The files have no text column.")
    elif data["quality"]["repeats"]["sampled"] < 1:
        notes.append(
            "Repeats are estimated from all rows of"
            f" {percent(data['quality']['repeats']['sampled'], 1)} of the texts."
        )
    if data["quality"] is not None and data["quality"]["languages"]["rows"]:
        notes.append(languages_words(data["quality"]["languages"]))
    return section(
        "Data quality", table((), rows, texts=(1,)), *(tag("p", note, class_="note") for note in notes)
    )


def model(data: Data) -> Section:
    """The models that scored the rows, and the manifests next to them."""
    rows: list[tuple[str, str]] = []
    for one in data["scores"]["models"]:
        rows.append(("model", f"{one['model']['name'] or 'unknown'} {one['model']['version'] or ''}".strip()))
        if one["model"]["digest"]:
            rows.append(("digest", one["model"]["digest"]))
        if one["model"]["abstain"] is not None:
            rows.append(("uncertain below", percent(one["model"]["abstain"], 0)))
    rows += [("labels", ", ".join(data["labels"])), ("files", count(data["scores"]["files"]))]
    for one in data["manifests"]:
        state = "complete" if one["finished"] else "incomplete: continue with sentstream score --resume"
        skipped = f", {count(one['skipped'])} inputs skipped" if one["skipped"] else ""
        rows.append(
            (f"manifest of {_short(one['directory'])}", f"{count(one['outputs'])} outputs{skipped}, {state}")
        )
        rows += [
            (name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
            for name, value in one["options"].items()
        ]
    return section("Model", table((), rows, (1,)))


def _wide(chart: Html, caption: str) -> Html:
    return tag("figure", chart, tag("figcaption", caption), class_="full")


def _legend(labels: Sequence[str], *, lines: bool = False) -> Html:
    return legend(list(zip(labels, label_kinds(labels), strict=True)), lines=lines)


def _few_cell(figures: Data) -> Html:
    if figures["few"]:
        return tag("td", count(figures["labeled"]), tag("small", FEW), class_="few")
    return tag("td", row_count_text(figures))


def _share_with_ends(figures: Data, label: str) -> Html:
    share = share_of(figures, label)
    if share is None:
        return tag("td", NOTHING)
    ends = tag("small", share_interval(share["interval"]))
    return tag("td", percent(share["share"], 1), ends, class_="few" if figures["few"] else None)


def _value_scale(groups: Sequence[Data]) -> tuple[float, float]:
    """The values at the edges of the whiskers' cells, symmetric around 0."""
    sure = [one for one in groups if one["value"] is not None and not one["few"]]
    sure = sure or [one for one in groups if one["value"] is not None]
    maximum = max((abs(end) for one in sure for end in one["value_interval"]), default=1.0)
    edge = min(1.0, max(0.1, -(-maximum * 10 // 1) / 10))
    return -edge, edge


def _histogram_rows(histogram: Data) -> list[tuple[str, ...]]:
    low, high = histogram["low"], histogram["high"]
    bins = len(histogram["rows"][0]) if histogram["rows"] else 0
    step = (high - low) / max(1, bins)
    rows = []
    for index in range(bins):
        numbers = [counts[index] for counts in histogram["rows"]]
        if any(numbers):
            ends = (low + step * index, low + step * (index + 1))
            words = signed_interval(ends) if low < 0 else share_interval(ends)
            rows.append((words, *map(count, numbers)))
    return rows


def _range(shares: Sequence[float]) -> str:
    low, high = (f"{100 * end:.1f}" for end in (min(shares), max(shares)))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _short(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2] or name
