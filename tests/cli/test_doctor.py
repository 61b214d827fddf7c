"""``sentstream doctor`` as users run it: with and without ONNX Runtime, with both of its distributions."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from processes import on_terminal

import sentstream
from sentstream.bundle import list_models
from sentstream.cli import main
from sentstream.doctor import Finding, Report, Section, examine
from sentstream.doctor import examination as module
from sentstream.doctor.packages import packages, runtime
from sentstream.errors import MissingExtraError

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "sentstream", "doctor"]
#: Makes onnxruntime unimportable, in whatever process starts with it on its path.
UNIMPORTABLE = """\
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name=name)

sys.meta_path.insert(0, Nothing())
"""

Run = subprocess.CompletedProcess[str]


def run(*arguments: str, path: tuple[Path, ...] = (), before: tuple[str, ...] = (), **more: str) -> Run:
    mine = {key: value for key, value in os.environ.items() if not key.startswith("SENTSTREAM_")}
    place = os.pathsep.join(map(str, (*path, ROOT)))
    return subprocess.run(
        [*before, *COMMAND, *arguments],
        env={**mine, "PYTHONPATH": place, **more},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def lines(shown: Run) -> dict[str, tuple[str, str]]:
    """Return subject, verdict and text of each line."""
    found = [re.split(r" {2,}", line, maxsplit=2) for line in shown.stdout.splitlines()]
    return {about: (verdict, words) for verdict, about, words in found}


def dist_info(folder: Path, name: str, version: str) -> None:
    """A distribution that is listed as installed."""
    directory = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    directory.mkdir(parents=True)
    (directory / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture(name="without", scope="module")
def _without(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything installed here except ONNX Runtime, for an interpreter without site-packages (-S)."""
    folder = tmp_path_factory.mktemp("site")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith("onnxruntime"):
            (folder / entry.name).symlink_to(entry)
    return folder


def run_bare(without: Path, *arguments: str, path: tuple[Path, ...] = ()) -> Run:
    """Run Python with only the packages in these directories."""
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT, ROOT / "train", without)))},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def runtime_of(without: Path, folder: Path) -> list[Any]:
    """Return verdict, exit code and text about the ONNX Runtime in a directory."""
    program = (
        "import json; from sentstream.doctor.packages import runtime; (found,) = runtime().findings\n"
        "print(json.dumps([found.verdict, found.exit_code, found.text]))"
    )
    done = run_bare(without, "-c", program, path=(folder,))
    assert (done.returncode, done.stderr) == (0, "")
    answer: list[Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(name="shown", scope="module")
def _shown() -> Run:
    """The full output on this machine."""
    return run()


class TestThisMachine:
    def test_no_problems_are_reported(self, shown: Run) -> None:
        assert (shown.returncode, shown.stderr) == (0, "")

    def test_every_line_has_a_verdict(self, shown: Run) -> None:
        found = lines(shown)
        assert len(found) == len(shown.stdout.splitlines())
        assert {verdict for verdict, _ in found.values()} <= {"ok", "note"}
        names = {"versions", "Kafka", "extras", "ONNX Runtime", "CPU", "CUDA", "processor", "instructions"}
        assert names <= found.keys()
        assert {"memory", "arithmetic", "speed", *(f"model {name}" for name in list_models())} <= found.keys()

    def test_reported_facts(self, shown: Run) -> None:
        found = lines(shown)
        assert f"sentstream {sentstream.__version__}" in found["versions"][1]
        assert re.search(r"runs tweets: \d+ nodes on the CPU", found["CPU"][1])
        assert re.search(r"\d+% of the [\d.]+ of plain matrix products", found["arithmetic"][1])
        for name in list_models():
            assert "all checksums match; at most" in found[f"model {name}"][1]

    def test_json_requested_by_environment_variable(self) -> None:
        shown = run(SENTSTREAM_DOCTOR_JSON="1", SENTSTREAM_DOCTOR_BENCHMARK="0")
        assert (shown.returncode, shown.stderr) == (0, "")
        report = json.loads(shown.stdout)
        assert report["exit_code"] == 0
        assert report["verdict"] in ("ok", "note")
        assert report["packages"]["sentstream"] == sentstream.__version__
        assert report["onnxruntime"]["version"]
        assert report["providers"]["cpu"]["usable"] is True
        assert report["processor"]["threads"] >= 1
        assert [model["name"] for model in report["models"]] == list_models()
        assert all(model["sealed"] and model["difference"] < 2e-2 for model in report["models"])
        assert "benchmark" not in report

    @pytest.mark.skipif(shutil.which("taskset") is None, reason="there is no taskset")
    def test_on_one_core(self) -> None:
        (core, *_) = sorted(os.sched_getaffinity(0))
        shown = run("--json", before=("taskset", "-c", str(core)))
        report = json.loads(shown.stdout)
        assert report["processor"]["affinity"] == report["processor"]["threads"] == 1
        assert report["benchmark"]["threads"] == 1
        assert report["benchmark"]["fraction"] > 0

    def test_terminal_output(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "80"}
        code, shown = on_terminal([*COMMAND, "--no-benchmark"], env=environment, stderr=subprocess.DEVNULL)
        assert code == 0
        plain = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
        assert "\x1b[32mok" in shown
        assert max(map(len, plain)) <= 80
        starts = [line for line in plain if line.startswith(("ok ", "note ", "problem "))]
        assert len(starts) >= 8
        # What does not fit is indented below the words, not below the verdict.
        assert all(line.startswith(" " * 29) for line in plain if line not in starts)


class TestWithoutOnnxRuntime:
    def test_listed_but_not_importable(self, tmp_path: Path) -> None:
        (tmp_path / "sitecustomize.py").write_text(UNIMPORTABLE)
        shown = run(path=(tmp_path,))
        assert (shown.returncode, shown.stderr) == (MissingExtraError.exit_code, "")
        found = lines(shown)
        verdict, words = found["ONNX Runtime"]
        assert verdict == "problem"
        assert "cannot be imported: No module named 'onnxruntime'; onnxruntime" in words
        assert "is listed as installed" in words
        assert found["processor"][0] in ("ok", "note")
        verdict, words = found["speed"]
        assert verdict == "note"
        assert "not measured: ONNX Runtime cannot be imported: No module named 'onnxruntime' (" in words
        assert "[cpu]')" in words
        for name in list_models():
            verdict, words = found[f"model {name}"]
            assert verdict == "note"
            assert "all checksums match; not run: " in words

    def test_no_distribution_installed(self, without: Path) -> None:
        shown = run_bare(without, "-m", "sentstream", "doctor", "--json")
        assert (shown.returncode, shown.stderr) == (MissingExtraError.exit_code, "")
        report = json.loads(shown.stdout)
        assert report["exit_code"] == 50
        assert report["verdict"] == "problem"
        assert report["onnxruntime"] == {"distributions": {}, "version": None, "providers": []}
        assert report["providers"] is None
        assert report["benchmark"] is None
        (line,) = (one for one in report["findings"] if one["about"] == "ONNX Runtime")
        assert "-m pip install" in line["hint"]
        assert line["hint"].endswith("[cpu]'")
        assert [model["sealed"] for model in report["models"]] == [True] * len(list_models())

    def test_leftover_folder_after_uninstall(self, without: Path, tmp_path: Path) -> None:
        (tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
        dist_info(tmp_path, "onnxruntime", "1.30.0")
        verdict, code, text = runtime_of(without, tmp_path)
        assert (verdict, code) == ("problem", 50)
        assert text.startswith("ONNX Runtime is only partly installed; onnxruntime 1.30.0 is listed")

    @pytest.mark.parametrize("code", ["raise RuntimeError('built for another NumPy')", "1 / 0"])
    def test_import_fails(self, without: Path, tmp_path: Path, code: str) -> None:
        (tmp_path / "onnxruntime.py").write_text(code)
        verdict, exit_code, text = runtime_of(without, tmp_path)
        assert (verdict, exit_code) == ("problem", 50)
        assert re.match(
            r"ONNX Runtime cannot be imported: \w+Error: (built for another NumPy|division)", text
        )


class TestDistributions:
    def test_both_distributions_give_a_note(self, tmp_path: Path) -> None:
        dist_info(tmp_path, "onnxruntime-gpu", "1.31.1")
        shown = run("--no-benchmark", path=(tmp_path,))
        assert shown.returncode == 0
        verdict, words = lines(shown)["ONNX Runtime"]
        assert verdict == "note"
        assert "and onnxruntime-gpu 1.31.1 are both installed and overwrite each other's files;" in words
        assert "pip uninstall onnxruntime onnxruntime-gpu, then " in words
        assert " -m pip install " in words

    def test_one_distribution(self) -> None:
        section = runtime()
        (name,) = section.facts["distributions"]
        assert section.findings[0].text == f"{name} {section.facts['distributions'][name]}"

    def test_module_without_distribution(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As if installed by another package manager, or built locally."""
        monkeypatch.setattr("sentstream.doctor.packages.RUNTIMES", ())
        (finding,) = runtime().findings
        assert finding.verdict == "ok"
        assert finding.text.endswith("not installed by pip")


class TestPackages:
    def test_missing_package_names_its_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "sentstream.doctor.packages.installed",
            lambda name: "1.0" if name in ("numpy", "pyarrow", "kafka-python") else None,
        )
        versions, kafka, extras = packages().findings
        assert versions.verdict == "ok"
        assert kafka.text == "kafka-python 1.0, no confluent-kafka (extra fast-kafka)"
        lacking = {
            "obstore": "cloud",
            "fsspec": "fsspec",
            "deltalake": "delta",
            "pyiceberg": "iceberg",
            "ray": "ray",
            "pyspark": "spark",
            "duckdb": "duckdb",
            "polars": "polars",
            "pandas": "pandas",
            "nltk": "nltk",
            "keras": "train",
            "tensorflow": "train",
        }
        assert extras.text == ", ".join(f"no {name} (extra {extra})" for name, extra in lacking.items())

    def test_missing_required_package_is_a_note(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sentstream.doctor.packages.installed", lambda name: None)
        versions, *_ = packages().findings
        assert versions.verdict == "note"
        assert versions.hint == "pip install numpy pyarrow kafka-python"


class TestReport:
    @pytest.mark.parametrize(
        ("findings", "verdict", "code"),
        [
            ([], "ok", 0),
            ([Finding("a", "ok", "x")], "ok", 0),
            ([Finding("a", "note", "x"), Finding("b", "ok", "x")], "note", 0),
            ([Finding("a", "note", "x"), Finding("b", "problem", "x", exit_code=31)], "problem", 31),
            (
                [Finding("a", "problem", "x", exit_code=50), Finding("b", "problem", "x", exit_code=31)],
                "problem",
                50,
            ),
        ],
    )
    def test_worst_verdict_and_first_exit_code(
        self, findings: list[Finding], verdict: str, code: int
    ) -> None:
        report = Report([Section("one", None, findings[:1]), Section("two", {"a": 1}, findings[1:])])
        assert (report.verdict, report.exit_code) == (verdict, code)
        assert report.to_dict()["two"] == {"a": 1}
        assert len(report.to_dict()["findings"]) == len(findings)

    def test_failing_check_does_not_hide_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken() -> Section:
            raise ZeroDivisionError("of all\nthings")

        monkeypatch.setattr(module, "memory", broken)
        monkeypatch.setattr(module, "models", lambda: Section("models", []))
        sections = list(examine(speed=False))
        found = {section.name: section for section in sections}
        assert list(found) == ["packages", "onnxruntime", "providers", "processor", "memory", "models"]
        (line,) = found["memory"].findings
        assert (line.verdict, line.exit_code) == ("problem", 1)
        assert line.text == "ZeroDivisionError: of all things"

    def test_control_characters_are_not_printed(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        evil = Section("memory", None, [Finding("memory", "ok", "\x1b[2Ja")])
        monkeypatch.setattr(module, "memory", lambda: evil)
        assert main(["doctor", "--no-benchmark"]) == 0
        assert "\x1b" not in capsys.readouterr().out


class TestImportCost:
    def test_other_commands_do_not_import_it(self) -> None:
        program = (
            "import sys, sentstream.cli\n"
            "assert sentstream.cli.main(['--help']) == 0\n"
            "sys.exit(any(name.startswith('sentstream.doctor') for name in sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
