"""Reports: pages that are complete, self-contained and safe; charts that show the figures; tables."""

from __future__ import annotations

import io
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from report_pages import (
    HOSTILE,
    PAGES,
    detail_sections,
    evaluation,
    explanation,
    inspection,
    metrics,
    search,
)
from rich.console import Console

from sentstream.errors import OutputExistsError, OutputWriteError
from sentstream.markup import Html, join, printable, tag
from sentstream.report.charts import prefix_curve, whisker
from sentstream.report.explanation import explanation_tables
from sentstream.report.page import check_target, share_cell, table, write_page
from sentstream.report.words import count, evaluation_rows, inspection_rows, interval, percent
from sentstream_train.report.charts import (
    confidence_histogram,
    coverage_curve,
    intervals,
    length_histogram,
    reliability,
)
from sentstream_train.report.evaluation.page import evaluation_page
from sentstream_train.report.evaluation.rows import recalibration_words
from sentstream_train.report.inspection import inspection_page
from sentstream_train.report.search.page import search_next, search_tables
from sentstream_train.report.terminal import evaluation_tables, inspection_tables

#: Elements that have no end tag.
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Parsed(HTMLParser):
    """A parsed page; parsing checks that every element is closed in the right place."""

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
        assert not {"script", "img", "link", "iframe", "object", "embed", "form", "image", "use"} & set(
            parsed.elements
        )
        for name, key, value in parsed.attributes:
            assert not key.startswith("on"), key
            assert key not in ("src", "srcset", "xlink:href", "action", "data")
            assert key != "href" or (name == "a" and value.startswith("#"))
            assert "url(" not in value
        style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
        assert style
        assert "url(" not in style[1]
        assert "@import" not in style[1]
        assert "://" not in page
        assert "default-src 'none'" in page

    def test_has_contents_that_lead_to_every_section(self, page: str) -> None:
        parsed = Parsed(page)
        anchors = [value for name, key, value in parsed.attributes if (name, key) == ("section", "id")]
        links = [value.removeprefix("#") for _, key, value in parsed.attributes if key == "href"]
        assert len(anchors) == len(set(anchors)) == parsed.elements["section"]
        assert links == (anchors if len(anchors) >= 4 else [])
        titles, named = (re.findall(f"<{name}[^>]*>(.*?)</{name}>", page) for name in ("h2", "a"))
        assert named == (titles if links else [])
        assert ("nav", "aria-label", "Contents") in parsed.attributes or not links

    def test_wide_table_can_be_scrolled_by_keyboard_and_has_a_name(self, page: str) -> None:
        boxes = re.findall(r'<div class="scroll"([^>]*)>\s*<table', page)
        assert len(boxes) == Parsed(page).elements["table"] == page.count('class="scroll"')
        for box in boxes:
            assert ' tabindex="0" role="region" aria-label="Table: ' in box
            assert not box.endswith('Table: "')

    def test_supports_phones_dark_mode_and_print(self, page: str) -> None:
        assert "width=device-width" in page
        for words in ("color-scheme: light dark", "prefers-color-scheme: dark", "@media print"):
            assert words in page

    def test_no_bidirectional_control_characters(self, page: str) -> None:
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)
        page.encode()


class TestHostileNames:
    @pytest.mark.parametrize("page", [name for name in PAGES if name.startswith("hostile")])
    def test_hostile_names_are_escaped(self, page: str) -> None:
        parsed = Parsed(PAGES[page])
        assert "<img" not in PAGES[page]
        assert "<img src=x onerror=alert(1)>&\"'[red]\ufffd[31m\ufffd\ufffd" in parsed.text

    def test_hostile_names_are_escaped_on_the_terminal(self) -> None:
        for parts in (
            evaluation_tables(evaluation([HOSTILE, "ok"], HOSTILE, HOSTILE)),
            inspection_tables(inspection(HOSTILE, HOSTILE, HOSTILE)),
            explanation_tables(explanation([HOSTILE, "ok"], HOSTILE, HOSTILE)),
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


def both(data: dict[str, Any]) -> list[str]:
    """The texts of the page and of the terminal, each as one line."""
    shown = (Parsed(evaluation_page(data)).text, rendered(evaluation_tables(data)))
    return [" ".join(text.split()) for text in shown]


class TestEvaluationTables:
    TABLES = tables_of(PAGES["evaluation"])

    def test_evaluated_data(self) -> None:
        assert self.TABLES["model"] == [
            ["model", "tiny 0.1"],
            ["format", "bundle"],
            ["digest", f"sha256:{'ab' * 32}"],
            ["labels", "negative, positive"],
        ]
        keras = evaluation()
        keras["model"] |= {"kind": "keras", "version": None}
        assert tables_of(evaluation_page(keras))["model"][:2] == [
            ["model", "tiny"],
            ["format", "Keras model from a training run"],
        ]

    def test_rows_and_files(self) -> None:
        assert self.TABLES["rows read"] == [
            ["rows read", "498"],
            ["left out: label 'negative', not in --labels", "3"],
            ["left out: label 'neutral', unknown to the model", "139"],
            ["left out: null, empty or whitespace only", "2"],
            ["rows evaluated", "354"],
        ]
        assert self.TABLES["file"] == [["file", "rows", "SHA-256"], ["test.parquet", "498", "cd" * 8]]

    def test_confusion(self) -> None:
        assert self.TABLES["predicted negative"] == [
            ["", "predicted negative", "predicted positive"],
            ["is negative", "30 75.0 %", "10 25.0 %"],
            ["is positive", "10 25.0 %", "30 75.0 %"],
        ]

    def test_labels(self) -> None:
        assert self.TABLES["label"] == [
            ["label", "rows", "predicted", "precision", "recall", "F1"],
            ["negative", "40", "0", "–", "75.00 %", "50.00 %"],
            ["positive", "40", "0", "–", "75.00 %", "50.00 %"],
        ]

    def test_baselines(self) -> None:
        macro = ("74.00 %", "70.11 to 77.77 %", "73.00 %")
        assert self.TABLES["system"] == [
            [
                *("system", "accuracy", "the model's lead"),
                *("macro-recall", "95 % interval", "macro-F1", "method"),
            ],
            ["tiny", "75.00 %", "–", *macro, "the model"],
            ["VADER", "70.00 %", "+1.00 to +9.00 %", *macro, evaluation()["baselines"][0]["method"]],
            ["TextBlob", *["–"] * 5, "skipped: negative"],
        ]

    def test_macro_recall_has_its_interval(self) -> None:
        note = "mean over the labels; 95 %: 70.11 to 77.77 %"
        assert f"<dt>macro-recall</dt><dd>74.00 %<small>{note}</small>" in PAGES["evaluation"]
        shown = rendered(evaluation_tables(evaluation()))
        assert re.search(rf"macro-recall +74.00 % +{note}", shown)
        below = shown.split("Macro-recall of baselines")[1].split("VADER: lexicon")[0]
        assert re.search("VADER +74.00 % +70.11 to 77.77 %", below)
        assert "TextBlob" not in below
        data = evaluation()
        del data["baselines"][0]
        assert "Macro-recall of baselines" not in rendered(evaluation_tables(data))

    def test_slices(self) -> None:
        slices = [rows for rows in Cells(PAGES["evaluation"]).tables if rows[0][-1] == "mean score"]
        assert slices[0] == [
            ["", "rows", "accuracy", "60 % to 85 %", "95 % interval", "macro-recall", "mean score"],
            ["negation", "75", "70.00 %", "", "60.00 to 80.00 %", "70.00 %", "85.00 %"],
            ["emoji", "3", "100.00 %", "", "60.00 to 80.00 %", "70.00 %", "85.00 %"],
        ]
        assert [row[0] for row in slices[1]] == ["", "negative"]

    def test_small_slices_are_dimmed(self) -> None:
        assert re.search('<tr><td class="few">emoji</td><td class="few">3</td>', PAGES["evaluation"])
        assert re.search("<tr><td>negation</td><td>75</td>", PAGES["evaluation"])

    def test_coverage(self) -> None:
        assert self.TABLES["abstain below"] == [
            ["abstain below", "rows kept", "share", "accuracy", "macro-recall"],
            ["–", "354", "100.0 %", "75.00 %", "70.00 %"],
            ["0.58", "319", "90.1 %", "78.00 %", "70.00 %"],
            ["0.9306", "36", "10.2 %", "95.00 %", "70.00 %"],
        ]
        assert "Area under the curve 91.23 %; 96.78 % if every" in PAGES["evaluation"]

    def test_recalibration(self) -> None:
        assert self.TABLES["as is"] == [
            ["", "as is", "with temperature"],
            ["calibration error", "3.12 %", "1.23 %"],
            ["log loss", "0.4321", "0.4321"],
            ["Brier score", "0.2468", "0.2468"],
        ]
        assert "A temperature of 1.234 (the model is overconfident), cross-validated" in PAGES["evaluation"]
        data = evaluation()
        data["recalibration"] = {"method": "skipped: 9 rows", "temperature": None, "calibration": None}
        page = evaluation_page(data)
        assert "With a temperature: skipped: 9 rows." in page
        assert "as is" not in page

    @pytest.mark.parametrize(
        ("temperature", "words"),
        [(0.8, "underconfident)"), (0.999, "well calibrated)"), (1.01, "well"), (1.03, "overconfident)")],
    )
    def test_temperature_wording(self, temperature: float, words: str) -> None:
        found = recalibration_words({"temperature": temperature, "method": "crossed"})
        assert found.startswith(f"A temperature of {temperature:.3f} (the model is {words}")

    def test_calibrated_model(self) -> None:
        data = evaluation()
        figures = {
            when: {"ece": ece, "log_loss": 0.5, "brier": 0.3}
            for when, ece in (("before", 0.09), ("after", 0.01))
        }
        data["model"]["calibration"] = {"temperature": 1.5, "n": 1000, "after_is": "crossed", **figures}
        words = "a temperature of 1.500, fitted to 1,000 rows; the figures are on those rows, after: crossed."
        for shown in (evaluation_page(data), rendered(evaluation_tables(data))):
            assert words in shown
            assert "9.00 %" in shown
            assert "1.00 %" in shown
        data["recalibration"] = {"method": "skipped: 9 rows", "temperature": None, "calibration": None}
        assert words in evaluation_page(data)

    def test_worst_errors(self) -> None:
        head, first, second = self.TABLES["row"]
        assert head == ["row", "label", "predicted", "score", "P(label)", "text"]
        assert first == ["12345", "negative", "positive", "98.76 %", "2.00 %", "–"]
        assert second[-1].startswith("so so so")
        assert len(second[-1]) == 280
        data = evaluation()
        data["worst"] = [{**row, "file_number": index} for index, row in enumerate(data["worst"])]
        for row in data["worst"]:
            row.pop("text", None)
        (table,) = (rows for rows in Cells(evaluation_page(data)).tables if "P(label)" in rows[0])
        assert table[0] == ["file", "row", "label", "predicted", "score", "P(label)"]
        assert "2 of 20 wrong rows, most confident first; rows are numbered from 0." in evaluation_page(data)

    def test_comparisons(self) -> None:
        assert self.TABLES["the model"] == [
            ["", "the model", "the other", "difference", "95 % interval", "-8.1 to +8.1 %"],
            ["accuracy", "75.00 %", "72.00 %", "+3.11 %", "-0.77 to +6.98 %", ""],
            ["macro-recall", "74.00 %", "70.00 %", "+4.00 %", "-0.10 to +8.10 %", ""],
        ]
        assert (
            "On 354 rows (labels negative, positive), only tiny is correct on 31 and only other tiny on 20."
            " McNemar's test (chi-squared 1.96): p = 0.161; these rows do not tell the two apart."
        ) in Parsed(PAGES["evaluation"]).text
        data = evaluation()
        data["comparisons"][0]["mcnemar"] = {"method": "exact", "statistic": None, "p": 0.0312}
        assert "McNemar's test (exact): p = 0.0312; such a split is unlikely" in evaluation_page(data)

    def test_rows_only_one_model_gets_right(self) -> None:
        data = evaluation()
        versus = data["comparisons"][0]
        words = (
            "Only tiny is correct: 2 of 31 rows of test.parquet, numbered from 0, most confident errors of"
            " other tiny first: 54321, 7."
        )
        for shown in both(data):
            assert words in shown
            assert "Only other tiny is correct" not in shown
        versus["only_second_rows"] = [
            {**row, "file": file, "file_number": index}
            for index, (row, file) in enumerate(zip(versus["only_first_rows"], "ab", strict=True))
        ]
        versus["model"]["name"] = "tiny"
        words = (
            "Only the other is correct: 2 of 20 rows, numbered from 0, most confident errors of the"
            " evaluated model first: a 54321, b 7."
        )
        for shown in both(data):
            assert words in shown
            assert "Only the evaluated model is correct: 2 of 31 rows of test.parquet" in shown

    def test_texts_of_those_rows(self) -> None:
        data = evaluation()
        data["worst"] = []
        for row in data["comparisons"][0]["only_first_rows"]:
            row["text"] = f"it was in row {row['row']}"
        assert tables_of(evaluation_page(data))["row"] == [
            ["row", "label", "predicted", "score", "P(label)", "text"],
            ["54321", "negative", "positive", "80.00 %", "2.00 %", "it was in row 54321"],
            ["7", "negative", "positive", "80.00 %", "2.00 %", "it was in row 7"],
        ]
        for shown in both(data):
            assert "Only tiny is correct: 2 of 31 rows" in shown
            assert "it was in row 54321" in shown

    def test_labels_set_aside(self) -> None:
        data = evaluation()
        assert "labels left out" not in evaluation_page(data).casefold()
        data["model"]["set_aside"] = ["neutral", "mixed"]
        data["comparisons"][0]["model"]["set_aside"] = ["neutral"]
        fact = "neutral, mixed; all metrics use the remaining probabilities, renormalized"
        assert tables_of(evaluation_page(data))["model"][-1] == ["labels left out", fact]
        assert "are correct. Only the labels negative, positive were allowed." in evaluation_page(data)
        for shown in both(data):
            assert fact in shown
            assert "tell the two apart. Labels left out for other tiny: neutral." in shown
        data["model"]["set_aside"] = data["comparisons"][0]["model"]["set_aside"] = []
        page = evaluation_page(data)
        assert tables_of(page)["model"][-1] == ["labels left out", "none: the model has no other labels"]
        assert "were allowed" not in page
        assert "Labels left out for" not in page

    def test_skipped_baseline_is_not_charted(self) -> None:
        chart = PAGES["evaluation"].split("<h2>Against baselines")[1].split("</svg>")[0]
        assert "VADER" in chart
        assert "TextBlob" not in chart

    def test_every_value_has_its_source(self) -> None:
        names = [row[0] for row in self.TABLES["accuracy"]]
        assert names[:5] == [
            *("accuracy", "macro-recall, macro-F1", "calibration error", "log loss", "Brier score")
        ]
        assert names[5:] == ["temperature", "coverage", "McNemar's test", "intervals of differences"]
        tiles = re.findall("<dt>(.*?)</dt>", PAGES["evaluation"])
        assert set(tiles) <= set(", ".join(names).split(", "))


class TestInspectionTables:
    TABLES = tables_of(PAGES["inspection"])

    def test_rows(self) -> None:
        assert self.TABLES["rows read"] == [
            ["rows read", "103"],
            ["left out: no label", "3"],
            ["null", "4"],
            ["empty or whitespace only", "6"],
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
        assert "300 distinct tokens (75.00 %) occur once." in Parsed(PAGES["inspection"]).text

    def test_duplicates_and_users(self) -> None:
        assert self.TABLES["identical"] == [
            ["", "identical", "same letters and digits"],
            ["repeated texts", "4", "4"],
            ["rows after the first occurrence", "1,234", "1,234"],
            ["texts with several labels", "1", "1"],
            ["rows with those texts", "2", "2"],
        ]
        assert self.TABLES["users"] == [
            ["users", "7"],
            ["rows with a user", "50.00 %"],
            ["most rows by one user", "3"],
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
            ["type-token ratio", "0.3077"],
            ["seen once (hapaxes)", "300"],
        ]
        assert self.TABLES["collocation"][1:] == [["new sad", "8", "77.5"]]


STYLE = (Path(__file__).resolve().parents[2] / "sentstream/report/page.css").read_text("utf-8")


def themes() -> list[dict[str, str]]:
    """The colors of the light and of the dark page."""
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    first = dict(re.findall(r"--(\w+): (#\w+)", light))
    return [first, {**first, **dict(re.findall(r"--(\w+): (#\w+)", dark))}]


def luminance(color: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    channels = [int(digits[index : index + 2], 16) / 255 for index in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


class TestStyle:
    @pytest.mark.parametrize("theme", themes(), ids=["light", "dark"])
    def test_text_contrast(self, theme: dict[str, str]) -> None:
        for ground in ("paper", "panel"):
            assert contrast(theme["ink"], theme[ground]) >= 7
            assert contrast(theme["soft"], theme[ground]) >= 4.5
            assert contrast(theme["good"], theme[ground]) >= 4.5  # the first tile
            assert contrast(theme["bad"], theme[ground]) >= 3  # lines and areas

    def test_black_on_white(self) -> None:
        assert contrast("#000", "#ffffff") == pytest.approx(21)

    def test_no_unused_styles(self) -> None:
        used = {
            name
            for page in PAGES.values()
            for _, key, value in Parsed(page).attributes
            if key == "class"
            for name in value.split()
        }
        assert used == set(re.findall(r"\.([a-z]+\d?)", re.sub(r"\{.*?\}", "{}", STYLE, flags=re.DOTALL)))


class TestEvaluationPage:
    def test_page_has_the_values(self) -> None:
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
            "predicted positive",
            "+1.00 to +9.00 %",
            "skipped: negative",
            "Wilson interval (1927)",
        ):
            assert words in text, words

    def test_without_calibration_or_baselines(self) -> None:
        data = {**evaluation(), "metrics": metrics(["a", "b"], calibrated=False), "baselines": []}
        parsed = Parsed(evaluation_page({**data, "slices": [], "comparisons": []}))
        assert parsed.elements["svg"] == 1  # the coverage curve
        assert "Against baselines" not in parsed.text

    def test_one_cell_per_pair_of_labels(self) -> None:
        page = PAGES["three labels"]
        heat = re.search(r'<table class="heat">(.*?)</table>', page)
        assert heat
        assert heat[1].count("--share") == 9
        assert heat[1].count('class="hit"') == 3

    def test_label_without_rows(self) -> None:
        data = evaluation()
        data["metrics"]["confusion"] = [[0, 0], [3, 4]]
        assert "–" in Parsed(evaluation_page(data)).text


class TestInspectionPage:
    def test_page_has_the_values(self) -> None:
        text = Parsed(PAGES["inspection"]).text
        for words in (
            "Contents of train.parquet",
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

    def test_several_files_and_no_texts(self) -> None:
        data = inspection()
        data["files"] *= 2
        data["lengths"] = {"characters": {"rows": 0}, "tokens": {"rows": 0}}
        data["vocabulary"] |= {"tokens": 0, "types": 0, "types_seen_once": 0, "most_frequent": []}
        parsed = Parsed(inspection_page(data))
        assert "Contents of 2 files" in parsed.text
        assert parsed.elements["svg"] == 0


def numbers(chart: str, name: str, kind: str, attribute: str) -> list[float]:
    """The values of an attribute of every ``<name … class="kind">`` in a chart."""
    found = re.findall(rf"<{name} [^>]*>", chart)
    return [
        float(re.search(rf' {attribute}="([-\d.]+)"', one)[1])  # type: ignore[index]
        for one in found
        if f'class="{kind}"' in one
    ]


class TestCharts:
    BINS = metrics(["a", "b"])["calibration"]["bins"]

    def test_reliability_dots_match_the_bins(self) -> None:
        chart = reliability(self.BINS)
        x, y = numbers(chart, "circle", "dot", "cx"), numbers(chart, "circle", "dot", "cy")
        used = [one for one in self.BINS if one["rows"]]
        assert len(x) == len(used) == 8
        slope = (x[-1] - x[0]) / (used[-1]["confidence"] - used[0]["confidence"])
        for index, one in enumerate(used):
            assert x[index] == pytest.approx(
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
        for index, one in enumerate(used):
            share = right[index] / (right[index] + wrong[index])
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

    def test_coverage_curve(self) -> None:
        points = detail_sections(["a", "b"], "", "")["coverage"]["points"]
        chart = coverage_curve(points)
        x, y = numbers(chart, "circle", "dot", "cx"), numbers(chart, "circle", "dot", "cy")
        assert x == sorted(x, reverse=True)  # from all rows to few
        assert y == sorted(y, reverse=True)  # up is a smaller y
        slope = (y[2] - y[0]) / (points[2]["accuracy"] - points[0]["accuracy"])
        assert y[1] == pytest.approx(y[0] + slope * (points[1]["accuracy"] - points[0]["accuracy"]), abs=0.02)
        (band,) = re.findall('<polygon points="([^"]*)"', chart)
        assert len(band.split()) == 2 * len(points)
        assert len(re.findall("<polyline", chart)) == 2

    @given(
        st.lists(
            st.tuples(*[st.floats(0, 1)] * 4).map(lambda four: (four[0], *sorted(four[1:]))),
            min_size=1,
            max_size=10,
        )
    )
    def test_coverage_curves_stay_within_the_axes(
        self, points: list[tuple[float, float, float, float]]
    ) -> None:
        chart = coverage_curve(
            [
                {"coverage": kept, "accuracy": middle, "interval": [low, high], "macro_recall": low}
                for kept, low, middle, high in points
            ]
        )
        for shape in re.findall(' points="([^"]*)"', chart):
            for pair in shape.split():
                x, y = map(float, pair.split(","))
                assert 0 <= x <= 360
                assert 0 <= y <= 300
        assert 2 <= len(re.findall('class="grid"', chart)) <= 7

    def test_whiskers(self) -> None:
        chart = whisker(0.7, (0.6, 0.9), (0.5, 1.0), 0.75)
        (left,), (right,) = (numbers(chart, "line", "whisker model", end) for end in ("x1", "x2"))
        (dot,), (dashes,) = (
            numbers(chart, "circle", "mark model", "cx"),
            numbers(chart, "line", "ideal", "x1"),
        )
        assert [left, dot, dashes, right] == pytest.approx([34.4, 64.8, 80, 125.6], abs=0.02)
        beyond = whisker(0.1, (0.0, 1.0), (0.5, 0.9))
        assert numbers(beyond, "line", "whisker model", "x2") == [156]
        assert 'class="ideal"' not in beyond

    @pytest.mark.parametrize(
        ("value", "ends", "arrows", "dots"),
        [
            (0.7, (0.6, 0.9), "", 1),
            (0.5, (0.5, 1.0), "", 1),  # to the very ends
            (0.7, (0.4, 0.9), "<", 1),
            (0.7, (0.6, 1.01), ">", 1),
            (0.7, (0.4, 1.01), "<>", 1),
            (0.4, (0.3, 0.6), "<", 0),
            (0.2, (0.1, 0.3), "<", 0),
            (1.2, (1.1, 1.3), ">", 0),
        ],
    )
    def test_values_beyond_the_scale_have_an_arrow(
        self, value: float, ends: tuple[float, float], arrows: str, dots: int
    ) -> None:
        """A clamped interval looks different from one that ends there, and so does a clamped value."""
        chart = whisker(value, ends, (0.5, 1.0))
        points = re.findall(r'<path d="M(\d+),8 L', chart)
        assert "".join({"0": "<", "160": ">"}[point] for point in points) == arrows
        assert chart.count("<circle") == dots
        for x in re.findall(r'[ML](\d+),|x[12]="([\d.]+)"', chart):
            assert all(0 <= float(one) <= 160 for one in x if one)

    def test_word_curve_axis_shows_the_words(self) -> None:
        def steps(*tokens: str) -> list[dict[str, Any]]:
            return [{"token": token, "probabilities": [0.25, 0.75]} for token in tokens]

        def axis(chart: str) -> list[str]:
            return re.findall(r'<text text-anchor="end" transform="[^"]*rotate\(-55\)">(.*?)</text>', chart)

        assert axis(prefix_curve(["a", "b"], steps("my", "battery", ":("))) == ["my", "battery", ":("]
        many = [f"w{index}" for index in range(45)]
        assert axis(prefix_curve(["a", "b"], steps(*many))) == many[::3]
        assert axis(prefix_curve(["a", "b"], steps("x" * 99, "y"))) == [f"{'x' * 13}…", "y"]
        one = prefix_curve(["a", "b"], steps("alone"))
        assert axis(one) == ["alone"]
        height = float(re.search(r'viewBox="0 0 360 (\d+)"', one)[1])  # type: ignore[index]
        for y in re.findall(r'<text [^>]*y="([\d.]+)"', one):
            assert float(y) <= height

    @given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.2)), min_size=1, max_size=5))
    @example([(1.0, 0.0)])
    @example([(0.0, 0.0), (1.0, 0.0)])
    def test_intervals_stay_within_the_axes(self, systems: list[tuple[float, float]]) -> None:
        chart = intervals(
            [("name", share, (max(0.0, share - half), min(1.0, share + half))) for share, half in systems]
        )
        for value in re.findall(r' (?:x|x1|x2|cx)="([-\d.]+)"', chart):
            assert 0 <= float(value) <= 360

    @given(st.lists(st.integers(0, 10**7), min_size=1, max_size=41), st.integers(1, 50))
    def test_histograms_stay_within_the_axes(self, rows: list[int], width: int) -> None:
        chart = length_histogram(rows, width, "tokens")
        assert len(re.findall("<rect", chart)) == len(rows)
        for y, height in re.findall(r'<rect [^>]*y="([-\d.]+)" [^>]*height="([-\d.]+)"', chart):
            assert float(y) >= 9.9
            assert float(height) >= 0
        assert 1 <= len(re.findall('class="grid"', chart)) <= 6

    def test_no_rows(self) -> None:
        empty = [{"low": 0.0, "high": 1.0, "rows": 0, "confidence": None, "accuracy": None}]
        assert "<circle" not in reliability(empty)
        assert "<rect" not in confidence_histogram(empty)


class TestMarkup:
    def test_text_is_escaped_once(self) -> None:
        inner = tag("b", "<&>")
        assert inner == "<b>&lt;&amp;&gt;</b>"
        assert tag("p", inner, " & ") == "<p><b>&lt;&amp;&gt;</b> &amp; </p>"
        assert join([Html("<i>"), "<i>"]) == "<i>&lt;i&gt;"

    def test_attributes(self) -> None:
        assert tag("a", title='"<&') == '<a title="&quot;&lt;&amp;"></a>'
        assert tag("a", class_=None, stroke_width=1.5, x=2.0, y=3) == '<a stroke-width="1.5" x="2" y="3"></a>'

    @given(st.text())
    def test_any_text_round_trips(self, text: str) -> None:
        page = tag("p", text, title=text)
        parsed = Parsed(page)
        assert "".join(parsed.texts) == printable(text)
        assert parsed.attributes == [("p", "title", printable(text))]
        page.encode()

    def test_printable(self) -> None:
        assert printable("a\tb\x1b[0m\u202ec\ud800") == "a\ufffdb\ufffd[0m\ufffdc\ufffd"
        assert printable("naïve 😂 –") == "naïve 😂 –"

    def test_table(self) -> None:
        made = table(("a", "b"), [("<1>", share_cell(2.0, "x"))], (1,))
        assert "&lt;1&gt;" in made
        assert "--share: 1.0000" in made
        assert "<thead>" not in table((), [("a", "b")])


class TestWords:
    def test_number_formats(self) -> None:
        assert (count(1580000), percent(0.83844), percent(None), percent(1, 0)) == (
            "1,580,000",
            "83.84 %",
            "–",
            "100 %",
        )
        assert interval((0.1, 0.2)) == "10.00 to 20.00 %"
        assert interval((-0.01, 0.2), signed=True) == "-1.00 to +20.00 %"

    def test_only_actual_events_are_mentioned(self) -> None:
        assert [name for name, _ in evaluation_rows(evaluation()["rows"])] == [
            "rows read",
            "left out: label 'negative', not in --labels",
            "left out: label 'neutral', unknown to the model",
            "left out: null, empty or whitespace only",
            "rows evaluated",
        ]
        assert [name for name, _ in inspection_rows(inspection())] == [
            "rows read",
            "left out: no label",
            "null",
            "empty or whitespace only",
            "longer than 1,000 characters",
            "rows inspected",
        ]


class TestTerminal:
    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_evaluation(self, width: int) -> None:
        shown = rendered(evaluation_tables(evaluation()), width)
        assert all(len(line) <= width for line in shown.splitlines())
        for words in ("75.00 %", "VADER", "rows evaluated", "McNemar's"):
            assert words in shown
        if width > 40:  # where the columns of figures leave names and words whole
            for words in ("negation", "0.9306", "12345"):
                assert words in shown

    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_inspection(self, width: int) -> None:
        shown = rendered(inspection_tables(inspection()), width)
        assert all(len(line) <= width for line in shown.splitlines())
        for words in ("rows inspected", "new sad", "1,234"):
            assert words in shown

    def test_missing_parts_are_not_shown(self) -> None:
        data = {**inspection(), "labels": [], "users": None, "frequent_words": {}, "nltk": None}
        shown = rendered(inspection_tables(data))
        assert "Balance" not in shown
        assert "Users" not in shown
        nothing = {**evaluation(), "baselines": [], "comparisons": [], "worst": [], "slices": []}
        for words in ("Against", "Worst", "Slices"):
            assert words not in rendered(evaluation_tables(nothing))
            assert words not in evaluation_page(nothing)


class TestWriting:
    def test_written_completely_or_not_at_all(self, tmp_path: Path) -> None:
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

    def test_unwritable_target(self, tmp_path: Path) -> None:
        tmp_path.joinpath("file").touch()
        with pytest.raises(OutputWriteError, match="cannot be written"):
            write_page(tmp_path / "file" / "page.html", "x", overwrite=False)


def test_words_are_not_broken_on_a_narrow_terminal() -> None:
    data = explanation(["negative", "neutral", "positive"], token="disappointed")
    shown = rendered(explanation_tables(data), 48)
    assert [line.split()[0] for line in shown.splitlines() if "%" in line][1:] == ["disappointed"] * 3


class TestSearch:
    def test_page_has_the_values(self) -> None:
        text = Parsed(PAGES["search"]).text
        for words in ("Search over 5 settings", "4 trials", "78.00 %", "+3.00", "trial 1", "failed: loss"):
            assert words in text
        tables = tables_of(PAGES["search"])
        assert ["cell", "simple", "gru"] in tables["setting"]
        assert tables["trial"][3][:5] == ["2", "pruned", "55.00 %", "1", "61.2"]

    def test_terminal_lists_complete_trials_best_first(self) -> None:
        lines = rendered(search_tables(search())).splitlines()
        assert [line.split()[0] for line in lines[1:3]] == ["1", "0"]
        assert "units 96, cell gru, bidirectional no, dropout 0.4, learning_rate 0.002" in lines[1]
        assert "complete: 2, pruned: 1, failed: 1, interrupted and restarted: 1" in lines

    def test_next_command_can_be_copied(self) -> None:
        assert search_next(search("x"))[1:] == [
            "next:  sentstream evaluate x/best TEST",
            "again: sentstream train DATA --output RUN --cell gru",
        ]
