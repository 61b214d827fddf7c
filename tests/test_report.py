"""Reports: pages that are whole, quiet and safe; charts that show the figures; tables for the terminal."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from sentstream.errors import OutputExistsError, OutputWriteError
from sentstream.report import (
    check_target,
    evaluation_page,
    evaluation_tables,
    inspection_page,
    inspection_tables,
    write_page,
)
from sentstream.report.charts import confidence_histogram, intervals, length_histogram, reliability
from sentstream.report.markup import Html, join, printable, tag
from sentstream.report.page import share_cell, table
from sentstream.report.words import count, evaluation_rows, inspection_rows, interval, percent

HOSTILE = "<img src=x onerror=alert(1)>&\"'[red]\x1b[31m\u202e\n"
CHROMIUM = Path("/usr/bin/chromium")
#: Elements that have no end tag.
VOID = {"meta", "br", "hr", "img", "link", "input"}


def metrics(labels: list[str], *, calibrated: bool = True) -> dict[str, Any]:
    size = len(labels)
    confusion = [[30 if row == column else 10 for column in range(size)] for row in range(size)]
    bins = [
        {
            "low": place / 15,
            "high": (place + 1) / 15,
            "rows": rows,
            "confidence": (place + 0.5) / 15 if rows else None,
            "accuracy": (place - 1) / 15 if rows else None,
        }
        for place, rows in enumerate([0] * 7 + [5, 8, 13, 21, 34, 55, 89, 144])
    ]
    return {
        "rows": 30 * size + 10 * size * (size - 1),
        "correct": 30 * size,
        "accuracy": 0.75,
        "interval": [0.7123, 0.7834],
        "macro_recall": 0.74,
        "macro_f1": 0.73,
        "classes": [
            {"label": label, "support": 40, "predicted": 0, "precision": None, "recall": 0.75, "f1": 0.5}
            for label in labels
        ],
        "confusion": confusion,
        "calibration": {"ece": 0.0312, "log_loss": 0.4321, "brier": 0.2468, "bins": bins}
        if calibrated
        else None,
    }


def evaluation(
    labels: list[str] | None = None, name: str = "tiny", file: str = "test.parquet"
) -> dict[str, Any]:
    labels = labels or ["negative", "positive"]
    return {
        "report": "evaluation",
        "sentstream": "1.2.3",
        "model": {
            "kind": "bundle",
            "name": name,
            "version": "0.1",
            "digest": f"sha256:{'ab' * 32}",
            "labels": labels,
        },
        "files": [{"name": file, "rows": 498, "sha256": "cd" * 32}],
        "rows": {
            "read": 498,
            "without_label": 0,
            "other_labels": {labels[0]: 3},
            "unknown_labels": {"neutral": 139},
            "blank": 2,
            "judged": 354,
        },
        "metrics": metrics(labels),
        "baselines": [
            {
                "name": "VADER",
                "method": "lexicon; by sign, 0 is positive (46 rows score exactly 0)",
                "metrics": {**metrics(labels, calibrated=False), "accuracy": 0.7, "interval": [0.65, 0.74]},
                "comparison": {
                    "only_first": 9,
                    "only_second": 4,
                    "difference": 0.05,
                    "interval": [0.01, 0.09],
                },
            },
            {"name": "TextBlob", "method": f"skipped: {labels[0]}", "metrics": None, "comparison": None},
        ],
    }


def inspection(label: str = "negative", file: str = "train.parquet", word: str = "sad") -> dict[str, Any]:
    lengths = {
        "rows": 90,
        "mean": 14.25,
        **{
            name: place
            for place, name in enumerate(("min", "p1", "p5", "p25", "p50", "p75", "p95", "p99", "max"))
        },
        "histogram": {"bin_width": 2, "rows": [0, 3, 50, 30, 7]},
    }
    repeats = {"texts": 4, "rows": 1234, "conflicting_texts": 1, "conflicting_rows": 2}
    marking = {"word": word, "z": 12.3, "count": 40, "elsewhere": 2}
    return {
        "report": "inspection",
        "sentstream": "1.2.3",
        "files": [{"name": file, "rows": 103, "sha256": "ef" * 32}],
        "rows": {
            "read": 103,
            "without_label": 3,
            "other_labels": 0,
            "inspected": 100,
            "null": 4,
            "empty": 6,
            "wordless": 0,
            "broken_utf8": 0,
            "truncated": 1,
        },
        "max_chars": 1000,
        "labels": [
            {"label": label, "rows": 60, "share": 0.6},
            {"label": "positive", "rows": 40, "share": 0.4},
        ],
        "lengths": {"characters": lengths, "tokens": lengths},
        "vocabulary": {
            "tokens": 1300,
            "types": 400,
            "types_seen_once": 300,
            "coverage": [{"size": 5000, "tokens": 0.9, "types": 0.5, "rarest_count": 3}],
            "most_frequent": [{"word": "the", "share": 0.05}, {"word": word, "share": 0.02}],
        },
        "duplicates": {"exact": repeats, "same_tokens": repeats},
        "users": {"users": 7, "rows_with_a_user": 0.5, "most_rows_of_one": 3, "users_with_one_row": 2},
        "contents": {"links": 0.25, "emoji": 0.0},
        "frequent_words": {label: [marking], "positive": []},
        "nltk": {
            "rows": 100,
            "tokens": 1300,
            "types": 400,
            "type_token_ratio": 0.3077,
            "hapaxes": 300,
            "collocations": [{"words": ["new", word], "count": 8, "log_likelihood": 77.5}],
        },
        "rules": {},
    }


class Parsed(HTMLParser):
    """A page, taken apart: every element closed, where it should be."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements[name] += 1
        self.attributes += [(name, key, value or "") for key, value in attributes]
        assert len({key for key, _ in attributes}) == len(attributes), (name, attributes)
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


PAGES = {
    "evaluation": evaluation_page(evaluation()),
    "three labels": evaluation_page(evaluation(["negative", "neutral", "positive"])),
    "hostile evaluation": evaluation_page(evaluation([HOSTILE, "ok"], HOSTILE, HOSTILE)),
    "inspection": inspection_page(inspection()),
    "hostile inspection": inspection_page(inspection(HOSTILE, HOSTILE, HOSTILE)),
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
class TestEveryPage:
    def test_is_well_formed(self, page: str) -> None:
        parsed = Parsed(page)
        assert page.startswith("<!DOCTYPE html>\n")
        for name in ("html", "head", "body", "header", "main", "footer", "h1", "style"):
            assert parsed.elements[name] == 1, name
        assert ("html", "lang", "en") in parsed.attributes
        assert "sentstream 1.2.3" in parsed.text

    def test_loads_nothing_and_runs_nothing(self, page: str) -> None:
        parsed = Parsed(page)
        assert not {"script", "img", "link", "iframe", "object", "embed", "a", "form", "image", "use"} & set(
            parsed.elements
        )
        for _, key, value in parsed.attributes:
            assert not key.startswith("on"), key
            assert key not in ("src", "href", "srcset", "xlink:href", "action", "data")
            assert "url(" not in value
        style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
        assert style
        assert "url(" not in style[1]
        assert "@import" not in style[1]
        assert "://" not in page
        assert "default-src 'none'" in page

    def test_is_for_phones_dark_rooms_and_paper(self, page: str) -> None:
        assert "width=device-width" in page
        for words in ("color-scheme: light dark", "prefers-color-scheme: dark", "@media print"):
            assert words in page

    def test_holds_nothing_that_moves_text_around(self, page: str) -> None:
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)
        page.encode()


class TestHostileNames:
    @pytest.mark.parametrize("page", ["hostile evaluation", "hostile inspection"])
    def test_are_text(self, page: str) -> None:
        parsed = Parsed(PAGES[page])
        assert "<img" not in PAGES[page]
        assert "<img src=x onerror=alert(1)>&\"'[red]\ufffd[31m\ufffd\ufffd" in parsed.text

    def test_on_the_terminal_they_are_text_too(self) -> None:
        for parts in (
            evaluation_tables(evaluation([HOSTILE, "ok"], HOSTILE, HOSTILE)),
            inspection_tables(inspection(HOSTILE, HOSTILE, HOSTILE)),
        ):
            shown = rendered(parts)
            assert "\x1b" not in shown
            assert "\u202e" not in shown
            assert "[red]" in shown


def rendered(parts: Any, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class Cells(HTMLParser):
    """The tables of a page, as lists of rows of cells, in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[list[list[str]]] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        if name == "table":
            self.tables.append([])
        elif name == "tr":
            self.tables[-1].append([])
        elif name in ("td", "th"):
            self.tables[-1][-1].append("")
            self.inside = True
        elif name == "small" and self.inside:
            self.tables[-1][-1][-1] += " "

    def handle_endtag(self, name: str) -> None:
        if name in ("td", "th"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.tables[-1][-1][-1] += data


def tables_of(page: str) -> dict[str, list[list[str]]]:
    """Tables by their first cell, or by their second where the first is empty."""
    return {table[0][0] or table[0][1]: table for table in Cells(page).tables}


class TestTablesOfTheEvaluation:
    TABLES = tables_of(PAGES["evaluation"])

    def test_what_was_judged(self) -> None:
        assert self.TABLES["model"] == [
            ["model", "tiny 0.1"],
            ["kept as", "sealed bundle"],
            ["digest", f"sha256:{'ab' * 32}"],
            ["labels", "negative, positive"],
        ]
        keras = evaluation()
        keras["model"] |= {"kind": "keras", "version": None}
        assert tables_of(evaluation_page(keras))["model"][:2] == [
            ["model", "tiny"],
            ["kept as", "Keras model of a training run"],
        ]

    def test_rows_and_files(self) -> None:
        assert self.TABLES["rows read"] == [
            ["rows read", "498"],
            ["left out: label 'negative', not in --labels", "3"],
            ["left out: label 'neutral', unknown to the model", "139"],
            ["left out: null, empty or white space only", "2"],
            ["rows judged", "354"],
        ]
        assert self.TABLES["file"] == [["file", "rows", "SHA-256"], ["test.parquet", "498", "cd" * 8]]

    def test_confusion(self) -> None:
        assert self.TABLES["given negative"] == [
            ["", "given negative", "given positive"],
            ["is negative", "30 75.0 %", "10 25.0 %"],
            ["is positive", "10 25.0 %", "30 75.0 %"],
        ]

    def test_labels(self) -> None:
        assert self.TABLES["label"] == [
            ["label", "rows", "given", "precision", "recall", "F1"],
            ["negative", "40", "0", "–", "75.00 %", "50.00 %"],
            ["positive", "40", "0", "–", "75.00 %", "50.00 %"],
        ]

    def test_baselines(self) -> None:
        assert self.TABLES["system"] == [
            ["system", "accuracy", "the model's lead", "macro-F1", "how it was made"],
            ["tiny", "75.00 %", "–", "73.00 %", "the model"],
            ["VADER", "70.00 %", "+1.00 to +9.00 %", "73.00 %", evaluation()["baselines"][0]["method"]],
            ["TextBlob", "–", "–", "–", "skipped: negative"],
        ]

    def test_a_baseline_that_was_skipped_is_in_no_chart(self) -> None:
        chart = PAGES["evaluation"].split("Against baselines")[1].split("</svg>")[0]
        assert "VADER" in chart
        assert "TextBlob" not in chart

    def test_every_figure_has_its_source(self) -> None:
        names = [row[0] for row in self.TABLES["accuracy"]]
        assert names == ["accuracy", "macro-recall, macro-F1", "calibration error", "log loss", "Brier score"]
        tiles = re.findall("<dt>(.*?)</dt>", PAGES["evaluation"])
        assert set(tiles) <= set(", ".join(names).split(", "))


class TestTablesOfTheInspection:
    TABLES = tables_of(PAGES["inspection"])

    def test_rows(self) -> None:
        assert self.TABLES["rows read"] == [
            ["rows read", "103"],
            ["left out: no label", "3"],
            ["null", "4"],
            ["empty or white space only", "6"],
            ["longer than 1,000 characters", "1"],
            ["rows inspected", "100"],
        ]

    def test_balance_and_contents(self) -> None:
        assert self.TABLES["label"][1:] == [["negative", "60", "60.00 %"], ["positive", "40", "40.00 %"]]
        assert self.TABLES["rows with"][1:] == [["links", "25.00 %"], ["emoji", "0.00 %"]]
        assert "--share: 0.6000" in PAGES["inspection"]

    def test_lengths(self) -> None:
        (head, characters, tokens) = self.TABLES["mean"]
        assert head == ["", "mean", "min", "p1", "p5", "p25", "p50", "p75", "p95", "p99", "max"]
        assert characters == ["characters", "14.25", *map(str, range(9))]
        assert tokens[0] == "tokens"

    def test_vocabulary(self) -> None:
        assert self.TABLES["size"][1:] == [["5,000", "90.00 %", "50.00 %", "3"]]
        assert self.TABLES["token"][1:] == [["the", "5.00 %"], ["sad", "2.00 %"]]
        assert "300 tokens (75.00 % of the distinct ones) occur once." in Parsed(PAGES["inspection"]).text

    def test_duplicates_and_users(self) -> None:
        assert self.TABLES["exactly the same"] == [
            ["", "exactly the same", "the same tokens"],
            ["texts that repeat", "4", "4"],
            ["rows beyond the first", "1,234", "1,234"],
            ["texts under several labels", "1", "1"],
            ["rows of those", "2", "2"],
        ]
        assert self.TABLES["users"] == [
            ["users", "7"],
            ["rows with a user", "50.00 %"],
            ["most rows of one user", "3"],
            ["users with one row", "2"],
        ]

    def test_words(self) -> None:
        first, second = [table for table in Cells(PAGES["inspection"]).tables if table[0][0] == "word"]
        assert first == [["word", "z", "times", "elsewhere"], ["sad", "12.3", "40", "2"]]
        assert second == [["word", "z", "times", "elsewhere"]]

    def test_nltk(self) -> None:
        assert self.TABLES["rows in the sample"] == [
            ["rows in the sample", "100"],
            ["tokens", "1,300"],
            ["distinct tokens", "400"],
            ["distinct tokens a token", "0.3077"],
            ["seen once (hapaxes)", "300"],
        ]
        assert self.TABLES["collocation"][1:] == [["new sad", "8", "77.5"]]


STYLE = (Path(__file__).resolve().parents[1] / "sentstream/report/page.css").read_text("utf-8")


def themes() -> list[dict[str, str]]:
    """The colors of the light and of the dark page."""
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    first = dict(re.findall(r"--(\w+): (#\w+)", light))
    return [first, {**first, **dict(re.findall(r"--(\w+): (#\w+)", dark))}]


def luminance(color: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    channels = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


class TestStyle:
    @pytest.mark.parametrize("theme", themes(), ids=["light", "dark"])
    def test_text_can_be_read(self, theme: dict[str, str]) -> None:
        for ground in ("paper", "panel"):
            assert contrast(theme["ink"], theme[ground]) >= 7
            assert contrast(theme["soft"], theme[ground]) >= 4.5
            assert contrast(theme["good"], theme[ground]) >= 4.5  # the first tile
            assert contrast(theme["bad"], theme[ground]) >= 3  # lines and areas

    def test_black_on_white(self) -> None:
        assert contrast("#000", "#ffffff") == pytest.approx(21)

    def test_nothing_is_styled_that_is_not_there(self) -> None:
        used = {
            name
            for page in PAGES.values()
            for _, key, value in Parsed(page).attributes
            if key == "class"
            for name in value.split()
        }
        assert used == set(re.findall(r"\.([a-z]+)", re.sub(r"\{.*?\}", "{}", STYLE, flags=re.DOTALL)))


class TestEvaluationPage:
    def test_holds_the_figures(self) -> None:
        text = Parsed(PAGES["evaluation"]).text
        for words in (
            "75.00 %",
            "71.23 to 78.34 %",
            "74.00 %",
            "73.00 %",
            "3.12 %",
            "0.4321",
            "0.2468",
            "test.parquet",
            "left out: label 'neutral', unknown to the model",
            "139",
            "354",
            "given positive",
            "+1.00 to +9.00 %",
            "skipped: negative",
            "Wilson's (1927)",
        ):
            assert words in text, words

    def test_without_calibration_or_baselines(self) -> None:
        data = {**evaluation(), "metrics": metrics(["a", "b"], calibrated=False), "baselines": []}
        parsed = Parsed(evaluation_page(data))
        assert parsed.elements["svg"] == 0
        assert "Against baselines" not in parsed.text

    def test_one_cell_a_pair_of_labels(self) -> None:
        page = PAGES["three labels"]
        heat = re.search(r'<table class="heat">(.*?)</table>', page)
        assert heat
        assert heat[1].count("--share") == 9
        assert heat[1].count('class="hit"') == 3

    def test_a_label_that_does_not_occur(self) -> None:
        data = evaluation()
        data["metrics"]["confusion"] = [[0, 0], [3, 4]]
        assert "–" in Parsed(evaluation_page(data)).text


class TestInspectionPage:
    def test_holds_the_figures(self) -> None:
        text = Parsed(PAGES["inspection"]).text
        for words in (
            "What is in train.parquet?",
            "60.00 %",
            "1,234",
            "new sad",
            "77.5",
            "12.3",
            "left out: no label",
        ):
            assert words in text, words

    def test_without_labels_users_or_nltk(self) -> None:
        data = {**inspection(), "labels": [], "users": None, "frequent_words": {}}
        del data["nltk"]
        parsed = Parsed(inspection_page(data))
        assert "Words that mark a label" not in parsed.text
        assert "NLTK" not in parsed.text

    def test_of_several_files_and_of_no_text(self) -> None:
        data = inspection()
        data["files"] *= 2
        data["lengths"] = {"characters": {"rows": 0}, "tokens": {"rows": 0}}
        data["vocabulary"] |= {"tokens": 0, "types": 0, "types_seen_once": 0, "most_frequent": []}
        parsed = Parsed(inspection_page(data))
        assert "What is in 2 files?" in parsed.text
        assert parsed.elements["svg"] == 0


def numbers(chart: str, name: str, kind: str, attribute: str) -> list[float]:
    """An attribute of every ``<name … class="kind">`` of a chart."""
    found = re.findall(rf"<{name} [^>]*>", chart)
    return [
        float(re.search(rf' {attribute}="([-\d.]+)"', one)[1])  # type: ignore[index]
        for one in found
        if f'class="{kind}"' in one
    ]


class TestCharts:
    BINS = metrics(["a", "b"])["calibration"]["bins"]

    def test_reliability_dots_lie_where_the_bins_are(self) -> None:
        chart = reliability(self.BINS)
        x, y = numbers(chart, "circle", "dot", "cx"), numbers(chart, "circle", "dot", "cy")
        used = [one for one in self.BINS if one["rows"]]
        assert len(x) == len(used) == 8
        slope = (x[-1] - x[0]) / (used[-1]["confidence"] - used[0]["confidence"])
        for place, one in enumerate(used):
            assert x[place] == pytest.approx(
                x[0] + slope * (one["confidence"] - used[0]["confidence"]), abs=0.02
            )
        assert y == sorted(y, reverse=True)  # up is a smaller y
        radii = numbers(chart, "circle", "dot", "r")
        assert radii == sorted(radii)
        assert Parsed(f"<div>{chart}</div>").elements["svg"] == 1

    def test_histogram_of_confidence_splits_right_from_wrong(self) -> None:
        chart = confidence_histogram(self.BINS)
        right = numbers(chart, "rect", "right", "height")
        wrong = numbers(chart, "rect", "wrong", "height")
        used = [one for one in self.BINS if one["rows"]]
        for place, one in enumerate(used):
            share = right[place] / (right[place] + wrong[place])
            assert share == pytest.approx(one["accuracy"], abs=0.01)

    def test_length_histogram(self) -> None:
        chart = length_histogram([0, 5, 10], 4, "tokens")
        heights = numbers(chart, "rect", "right", "height")
        assert heights[0] == 0
        assert heights[2] == pytest.approx(2 * heights[1], abs=0.02)
        assert "4 to 7 tokens: 5 rows" in chart
        assert "<svg" in length_histogram([7], 1, "tokens")

    def test_intervals(self) -> None:
        chart = intervals([("mine", 0.8, (0.75, 0.85)), ("x" * 99, 0.6, (0.5, 0.7))])
        (left,), (right,) = (numbers(chart, "line", "whisker model", end) for end in ("x1", "x2"))
        (middle,) = numbers(chart, "circle", "mark model", "cx")
        assert left < middle < right
        assert middle == pytest.approx((left + right) / 2, abs=0.02)
        assert f"{'x' * 33}…" in chart

    @given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.2)), min_size=1, max_size=5))
    @example([(1.0, 0.0)])
    @example([(0.0, 0.0), (1.0, 0.0)])
    def test_intervals_stay_inside(self, systems: list[tuple[float, float]]) -> None:
        chart = intervals(
            [("name", share, (max(0.0, share - half), min(1.0, share + half))) for share, half in systems]
        )
        for value in re.findall(r' (?:x|x1|x2|cx)="([-\d.]+)"', chart):
            assert 0 <= float(value) <= 360

    @given(st.lists(st.integers(0, 10**7), min_size=1, max_size=41), st.integers(1, 50))
    def test_histograms_stay_inside(self, rows: list[int], width: int) -> None:
        chart = length_histogram(rows, width, "tokens")
        assert len(re.findall("<rect", chart)) == len(rows)
        for y, height in re.findall(r'<rect [^>]*y="([-\d.]+)" [^>]*height="([-\d.]+)"', chart):
            assert float(y) >= 9.9
            assert float(height) >= 0
        assert 1 <= len(re.findall('class="grid"', chart)) <= 6

    def test_no_rows_no_crash(self) -> None:
        empty = [{"low": 0.0, "high": 1.0, "rows": 0, "confidence": None, "accuracy": None}]
        assert "<circle" not in reliability(empty)
        assert "<rect" not in confidence_histogram(empty)


class TestMarkup:
    def test_text_is_escaped_once_and_markup_never(self) -> None:
        inner = tag("b", "<&>")
        assert inner == "<b>&lt;&amp;&gt;</b>"
        assert tag("p", inner, " & ") == "<p><b>&lt;&amp;&gt;</b> &amp; </p>"
        assert join([Html("<i>"), "<i>"]) == "<i>&lt;i&gt;"

    def test_attributes(self) -> None:
        assert tag("a", title='"<&') == '<a title="&quot;&lt;&amp;"></a>'
        assert tag("a", class_=None, stroke_width=1.5, x=2.0, y=3) == '<a stroke-width="1.5" x="2" y="3"></a>'

    @given(st.text())
    def test_any_text_comes_back(self, text: str) -> None:
        page = tag("p", text, title=text)
        parsed = Parsed(page)
        assert "".join(parsed.texts) == printable(text)
        assert parsed.attributes == [("p", "title", printable(text))]
        page.encode()

    def test_printable(self) -> None:
        assert printable("a\tb\x1b[0m\u202ec\ud800") == "a\ufffdb\ufffd[0m\ufffdc\ufffd"
        assert printable("naïve 😂 –") == "naïve 😂 –"

    def test_a_table(self) -> None:
        made = table(("a", "b"), [("<1>", share_cell(2.0, "x"))], (1,))
        assert "&lt;1&gt;" in made
        assert "--share: 1.0000" in made
        assert "<thead>" not in table((), [("a", "b")])


class TestWords:
    def test_figures(self) -> None:
        assert (count(1580000), percent(0.83844), percent(None), percent(1, 0)) == (
            "1,580,000",
            "83.84 %",
            "–",
            "100 %",
        )
        assert interval((0.1, 0.2)) == "10.00 to 20.00 %"
        assert interval((-0.01, 0.2), signed=True) == "-1.00 to +20.00 %"

    def test_only_what_happened_is_told(self) -> None:
        assert [name for name, _ in evaluation_rows(evaluation()["rows"])] == [
            "rows read",
            "left out: label 'negative', not in --labels",
            "left out: label 'neutral', unknown to the model",
            "left out: null, empty or white space only",
            "rows judged",
        ]
        assert [name for name, _ in inspection_rows(inspection())] == [
            "rows read",
            "left out: no label",
            "null",
            "empty or white space only",
            "longer than 1,000 characters",
            "rows inspected",
        ]


class TestTerminal:
    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_evaluation(self, width: int) -> None:
        shown = rendered(evaluation_tables(evaluation()), width)
        assert all(len(line) <= width for line in shown.splitlines())
        for words in ("75.00 %", "VADER", "rows judged"):
            assert words in shown

    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_inspection(self, width: int) -> None:
        shown = rendered(inspection_tables(inspection()), width)
        assert all(len(line) <= width for line in shown.splitlines())
        for words in ("rows inspected", "new sad", "1,234"):
            assert words in shown

    def test_what_is_not_there_is_not_shown(self) -> None:
        data = {**inspection(), "labels": [], "users": None, "frequent_words": {}, "nltk": None}
        shown = rendered(inspection_tables(data))
        assert "Balance" not in shown
        assert "Users" not in shown
        assert "Against" not in rendered(evaluation_tables({**evaluation(), "baselines": []}))


class TestWriting:
    def test_whole_or_not_at_all(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "page.html"
        write_page(path, PAGES["evaluation"], overwrite=False)
        assert path.read_text("utf-8") == PAGES["evaluation"]
        with pytest.raises(OutputExistsError, match="--overwrite"):
            write_page(path, "other", overwrite=False)
        with pytest.raises(UnicodeEncodeError):
            write_page(path, "\ud800", overwrite=True)
        assert path.read_text("utf-8") == PAGES["evaluation"]
        write_page(path, "other", overwrite=True)
        assert path.read_text("utf-8") == "other"
        assert list(path.parent.iterdir()) == [path]

    def test_refuses_early(self, tmp_path: Path) -> None:
        check_target(tmp_path / "free", overwrite=False)
        with pytest.raises(OutputExistsError, match="is a directory"):
            check_target(tmp_path, overwrite=True)

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        tmp_path.joinpath("file").touch()
        with pytest.raises(OutputWriteError, match="cannot be written"):
            write_page(tmp_path / "file" / "page.html", "x", overwrite=False)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium")
@pytest.mark.parametrize("name", ["evaluation", "hostile evaluation", "hostile inspection"])
def test_a_browser_shows_it(name: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    # The browser writes down how wide the page came out; its own policy forbids scripts, so it is taken off.
    script = (
        "<script>document.title = JSON.stringify([document.documentElement.scrollWidth, innerWidth])</script>"
    )
    policy = re.compile("<meta http-equiv=[^>]*>")
    page.write_text(policy.sub("", PAGES[name]).replace("</body>", f"{script}</body>"), "utf-8")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--dump-dom",
        "--window-size=500,900",
    ]
    profile = tmp_path / "profile"
    run = subprocess.run(
        [str(CHROMIUM), *flags, f"--user-data-dir={profile}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    shutil.rmtree(profile, ignore_errors=True)
    shown, window = json.loads(re.search(r"<title>(\[.*?\])</title>", run.stdout)[1])  # type: ignore[index]
    assert shown <= window  # nothing sticks out of a narrow screen
    assert "<img" not in run.stdout
