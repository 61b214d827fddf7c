"""``sentstream models``: list, show, verify; text from an untrusted bundle is escaped on a terminal."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import make_bundle
from processes import on_terminal

from sentstream.bundle import load_bundle, store
from sentstream.cli import main
from sentstream.text import Vocabulary

ROOT = Path(__file__).resolve().parents[2]
EVIL = "\x1b]0;owned\x07 [red]markup[/red] \x9b2J \u202eevil\r\nnext"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(name="run")
def _run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(name="shipped")
def _shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two shipped models; the second is the default."""
    models = tmp_path / "models"
    monkeypatch.setattr(store, "MODELS", models)
    make_bundle(models / "another", name="another", labels=("bad", "so so", "good"), seed=1)
    make_bundle(models / "tweets", name="tweets", pairs=False, seed=2)
    return models


def reseal(directory: Path, change: Callable[[dict[str, Any]], None], card: str | None = None) -> Path:
    """Change the config of a bundle and reseal it."""
    config = json.loads((directory / "config.json").read_text())
    change(config)
    (directory / "config.json").write_text(json.dumps(config))
    if card is not None:
        (directory / "README.md").write_text(card, newline="")
    names = sorted(path.name for path in directory.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256((directory / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (directory / "SHA256SUMS").write_text("".join(lines))
    return directory


def with_hostile_text(directory: Path) -> Path:
    """A valid bundle with control characters in every text."""

    def change(config: dict[str, Any]) -> None:
        config["provenance"] = {EVIL: EVIL, "data": [{"name": EVIL, EVIL: 1}], "list": [EVIL]}
        config["metrics"] = {"accuracy": {EVIL: 0.5}, EVIL: {"accuracy": 0.5, "n": 3}}

    return reseal(make_bundle(directory), change, card=f"# card\n\n{EVIL}\n\ttab\n## Limits\n- {EVIL}\n")


def on_a_terminal(*arguments: str, models: Path | None = None) -> tuple[int, str]:
    """Run a command on a terminal and return what it shows."""
    program = "import sys; from pathlib import Path; from sentstream.bundle import store\n"
    if models:
        program += f"store.MODELS = Path({str(models)!r})\n"
    program += "from sentstream.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "150"}
    streams = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return on_terminal([sys.executable, "-c", program, *arguments], env=environment, **streams)


class TestList:
    def test_one_line_per_model_in_a_pipe(self, run: Run, shipped: Path) -> None:
        code, out, err = run("models", "list")
        assert (code, err) == (0, "")
        lines = [line.split("\t") for line in out.splitlines()]
        for line, name in zip(lines, ["another", "tweets"], strict=True):
            bundle = load_bundle(shipped / name)
            assert line[:5] == [name, "0.0.1", ",".join(bundle.labels), bundle.digest, str(bundle.size)]
            assert line[6] == "27"
        assert [line[7] for line in lines] == ["3", "0"]
        assert [line[8] for line in lines] == ["", "default"]

    def test_json(self, run: Run, shipped: Path) -> None:
        reseal(shipped / "another", lambda config: config.update(provenance={"parameters": 1234}))
        code, out, _ = run("models", "list", "--json")
        first, second = json.loads(out)
        assert code == 0
        assert first["name"] == "another"
        assert first["labels"] == ["bad", "so so", "good"]
        assert first["parameters"] == 1234
        assert second["parameters"] is None
        assert (first["default"], second["default"]) == (False, True)
        assert second["digest"] == load_bundle("tweets").digest

    def test_table_on_a_terminal(self, shipped: Path) -> None:
        code, shown = on_a_terminal("models", "list", models=shipped)
        assert code == 0
        assert "tweets (default)" in shown
        assert "bad, so so, good" in shown
        assert load_bundle("another").digest[:19] in shown
        assert "\t" not in shown

    @pytest.mark.parametrize("terminal", [False, True])
    def test_broken_model_does_not_hide_the_others(self, run: Run, shipped: Path, terminal: bool) -> None:
        (shipped / "another" / "model.onnx").write_bytes(b"something else")
        if terminal:
            code, out = on_a_terminal("models", "list", models=shipped)
        else:
            code, out, _ = run("models", "list")
        assert code == 31
        assert "broken" in out
        assert "model.onnx does not match its checksum" in out
        assert "tweets" in out
        assert load_bundle("tweets").digest[:19] in out

    def test_broken_model_in_json(self, run: Run, shipped: Path) -> None:
        (shipped / "another" / "SHA256SUMS").unlink()
        code, out, _ = run("models", "list", "--json")
        first, second = json.loads(out)
        assert code == 31
        assert "SHA256SUMS is missing" in first["error"]
        assert "error" not in second

    def test_no_models(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store, "MODELS", tmp_path / "none")
        assert run("models", "list") == (0, "", "")
        assert run("models", "list", "--json") == (0, "[]\n", "")


class TestShow:
    def test_summary_lines(self, run: Run, shipped: Path) -> None:
        card = (
            "---\nlicense: apache-2.0\n---\n# another\n\nLabels tweets,\nmostly.\n\n"
            "## What it is\n\n- Network\n\n## Limits\n\n- English\n  only.\n- No [irony](x.html).\n\n"
            "Of each:\n\n| a |\n|---|\n| 1 |\n\n## Biases\n\n- Many\n"
        )

        def change(config: dict[str, Any]) -> None:
            found = {"n": 2000, "accuracy": 0.7425, "interval": [0.7229, 0.7612], "macro_recall": 0.7356}
            config["metrics"] = {"test": found, "empty": {}, "odd": {"accuracy": "high"}, "no": None}
            config["provenance"] = {"parameters": 1234}

        reseal(shipped / "another", change, card=card)
        bundle = load_bundle("another")
        code, out, err = run("models", "show", "another")
        assert (code, err) == (0, "")
        assert [line[:10].strip() for line in out.splitlines()] == [
            *("model", "about", "labels", "reads", "knows", "parameters", "size", "digest", "path"),
            *("measured o", "license", "limits", "", "more"),
        ]
        for line in (
            "another 0.0.1",
            "Labels tweets, mostly.",
            "bad, so so, good",
            "the first 1,000 characters of a text",
            "27 words, 3 word pairs",
            "1,234",
            bundle.digest,
            str(bundle.path),
            "test: accuracy 74.25 % (72.29 to 76.12 %), macro-recall 73.56 %, 2,000 rows",
            "apache-2.0",
            "- English only.",
            "- No irony.",
        ):
            assert any(shown.endswith(f"  {line}") for shown in out.splitlines()), line
        assert not any(word in out for word in ("Network", "Many", "Of each", "odd", "empty", "| 1 |"))

    @pytest.mark.parametrize("name", ["tweets", "tweets-small", "sentiment140"])
    def test_shipped_models_fit_one_screen(self, run: Run, name: str) -> None:
        code, out, _ = run("models", "show", name)
        lines = out.splitlines()
        assert code == 0
        assert len(lines) <= 40
        bundle = load_bundle(name)
        for words in (bundle.digest, "accuracy", "Apache-2.0", "do not decide about people"):
            assert words in out
        for words in ("drift from ", str(bundle.reference)):
            assert words in out
        named = re.findall(r"--\w+", lines[-1])
        assert {"--card", "--full", "--json"} <= set(named)
        for option in named:
            longer = run("models", "show", name, option)
            assert longer[0] == 0
            assert len(longer[1]) > len(out)

    @pytest.mark.parametrize("form", ["name", "path"])
    def test_every_fact(self, run: Run, shipped: Path, form: str) -> None:
        name = "another" if form == "name" else str(shipped / "another")
        code, out, err = run("models", "show", name, "--full")
        assert (code, err) == (0, "")
        bundle = load_bundle(shipped / "another")
        for word in ("model", "text", "limits", "vocabulary", "graph", "provenance"):
            assert word in out.split()
        for value in (bundle.digest, "bad, so so, good", "1,000", "words, pairs", "float32", "mask"):
            assert value in out
        assert "parity" not in out  # nothing is said where there is nothing to say
        assert out.splitlines()[0] == "model"
        assert not any(line.endswith(" ") for line in out.splitlines())

    def test_parity_and_metrics_if_present(self, run: Run, shipped: Path) -> None:
        def change(config: dict[str, Any]) -> None:
            config["parity"] = {"largest_difference": 1.1920929e-07, "rows": 4000, "sound": True}
            config["metrics"] = {"test.csv": {"accuracy": 0.8412345, "empty": {}, "none": None, "list": []}}

        reseal(shipped / "another", change)
        _, out, _ = run("models", "show", "another", "--full")
        for key, value in {
            "largest_difference": "1.19209e-07",
            "rows": "4,000",
            "sound": "yes",
            "test.csv.accuracy": "0.841234",
            "test.csv.none": "none",
            "test.csv.empty": "none",
            "test.csv.list": "none",
        }.items():
            assert any(line.split() == [key, value] for line in out.splitlines()), key

    def test_card_only(self, run: Run, shipped: Path) -> None:
        card = "---\nlicense: apache-2.0\n---\n# Ünicode\n\n| a | b |\n"
        reseal(shipped / "another", lambda config: None, card=card)
        assert run("models", "show", "another", "--card") == (0, card, "")

    def test_json_holds_the_config_and_the_digest(self, run: Run, shipped: Path) -> None:
        code, out, _ = run("models", "show", "another", "--json")
        bundle = load_bundle("another")
        assert code == 0
        assert json.loads(out) == {
            "digest": bundle.digest,
            "size": bundle.size,
            "path": str(shipped / "another"),
            "config": bundle.config,
        }

    @pytest.mark.parametrize("two", [("--card", "--json"), ("--full", "--json"), ("--full", "--card")])
    def test_options_that_exclude_each_other(self, run: Run, shipped: Path, two: tuple[str, str]) -> None:
        code, out, err = run("models", "show", "another", *two)
        assert (code, out) == (2, "")
        assert "cannot be combined" in err

    def test_missing_model(self, run: Run, shipped: Path) -> None:
        code, out, err = run("models", "show", "anothr")
        assert (code, out) == (30, "")
        assert err.startswith("sentstream: error: ")
        assert "did you mean another?" in err
        assert err.count("\n") == 1

    def test_colors_only_on_a_terminal(self, run: Run, shipped: Path) -> None:
        code, shown = on_a_terminal("models", "show", "another", models=shipped)
        assert code == 0
        assert "\x1b[1m" in shown
        assert "\x1b" not in run("models", "show", "another")[1]


class TestVerify:
    def test_valid_models(self, run: Run, shipped: Path) -> None:
        code, out, err = run("models", "verify", "another", str(shipped / "tweets"))
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            f"{name}: ok {load_bundle(name).digest} cpu" for name in ("another", str(shipped / "tweets"))
        ]

    def test_every_model_has_a_line_and_the_first_error_sets_the_code(self, run: Run, shipped: Path) -> None:
        newer = reseal(make_bundle(shipped / "newer"), lambda config: config.update(schema_version=9))
        (make_bundle(shipped / "torn") / "README.md").unlink()
        code, out, err = run("models", "verify", "another", "newer", "torn", "nope", "another")
        assert code == 32
        assert err == ""
        lines = out.splitlines()
        assert [line.split(": ")[1].split()[0] for line in lines] == ["ok", "error", "error", "error", "ok"]
        assert str(newer) in lines[1]
        assert "upgrade sentstream" in lines[1]
        assert "README.md is missing" in lines[2]
        assert "neither a model that ships" in lines[3]

    def test_json(self, run: Run, shipped: Path) -> None:
        code, out, _ = run("models", "verify", "nope", "another", "--json")
        assert code == 30
        first, second = json.loads(out)
        assert first["model"] == "nope"
        assert (first["ok"], first["exit_code"]) == (False, 30)
        assert second == {
            "model": "another",
            "ok": True,
            "digest": load_bundle("another").digest,
            "provider": "cpu",
        }

    def test_sealed_graph_that_does_not_load(self, run: Run, shipped: Path) -> None:
        """The lookup of the largest id fails only when it runs."""
        path = make_bundle(shipped / "short")
        model = (path / "model.onnx").read_bytes()
        assert model.count(b"Tanh") == 2
        (path / "model.onnx").write_bytes(model.replace(b"Tanh", b"Relu", 1).replace(b"Tanh", b"Cast", 1))
        reseal(path, lambda config: None)
        load_bundle(path)
        code, out, _ = run("models", "verify", str(path))
        assert code == 33
        assert "ONNX Runtime cannot open the graph" in out

    @pytest.mark.parametrize("arguments", [[], ["--nope", "another"]])
    def test_usage_errors(self, run: Run, shipped: Path, arguments: list[str]) -> None:
        code, out, err = run("models", "verify", *arguments)
        assert (code, out) == (2, "")
        assert "sentstream models verify --help" in err


def has_control_characters(shown: str) -> bool:
    """Whether a text has control sequences other than our own styles."""
    ours = shown.replace("\r\n", "\n")
    for style in ("\x1b[1m", "\x1b[0m", "\x1b[2m", "\x1b[31m"):
        ours = ours.replace(style, "")
    return any(not (one.isprintable() or one == "\n") for one in ours)


class TestUntrustedText:
    @pytest.mark.parametrize("flags", [(), ("--full",), ("--card",), ("--json",)])
    def test_control_characters_do_not_reach_the_terminal(
        self, shipped: Path, flags: tuple[str, ...]
    ) -> None:
        with_hostile_text(shipped / "evil")
        code, shown = on_a_terminal("models", "show", "evil", *flags, models=shipped)
        assert code == 0
        assert not has_control_characters(shown)
        assert "markup" in shown
        assert "[red]" in shown  # shown as it is, not obeyed

    def test_pipe_gets_the_raw_card_and_escaped_fields(self, run: Run, shipped: Path) -> None:
        path = with_hostile_text(shipped / "evil")
        assert run("models", "show", "evil", "--card")[1].encode() == (path / "README.md").read_bytes()
        assert not has_control_characters(run("models", "show", "evil")[1])
        assert not has_control_characters(run("models", "show", "evil", "--full")[1])
        assert json.loads(run("models", "show", "evil", "--json")[1])["config"] == load_bundle("evil").config

    @pytest.mark.parametrize("key", ["name", "version", "schema_version", "labels", EVIL])
    def test_errors_have_no_control_characters(self, run: Run, shipped: Path, key: str) -> None:
        reseal(shipped / "another", lambda config: config.update({key: EVIL}))
        for arguments in (("list",), ("verify", "another"), ("show", "another")):
            code, out, err = run("models", *arguments)
            assert code == 32
            assert not has_control_characters((out + err).replace("\t", " "))

    def test_onnx_runtime_errors_have_no_control_characters(self, run: Run, shipped: Path) -> None:
        path = shipped / "another"
        model = (path / "model.onnx").read_bytes()
        found = re.search(rb"n\d+_transpose", model)
        assert found
        name = found[0]
        new = b"\x1b[2J" + name[4:]
        (path / "model.onnx").write_bytes(model.replace(name, new, 1))
        reseal(path, lambda config: None)
        code, out, _ = run("models", "verify", "another")
        assert code == 33
        assert not has_control_characters(out)


def test_vocabulary_is_never_printed(run: Run, shipped: Path) -> None:
    for flags in ((), ("--full",)):
        assert "\x1b" not in run("models", "show", "tweets", *flags)[1]
    assert isinstance(load_bundle("tweets").text.vocabulary, Vocabulary)
    assert io.StringIO(run("models", "show", "tweets", "--full")[1]).readline().strip() == "model"
