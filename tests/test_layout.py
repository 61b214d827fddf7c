"""Rules about the whole tree: who may import whom, what loads when, and which names are allowed."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from packaging.requirements import Requirement

import sentstream

ROOT = Path(__file__).resolve().parents[1]
#: A room is a top-level module or package. It imports only rooms before it (as in CONTRIBUTING.md's tree).
ROOMS = [
    *"errors markup notebook profile packed storage text drift bundle cgroup repeats versions".split(),
    *"cuda session scorer model explanation doctor".split(),
    *"dataset engines duckdb polars pandas spark reference analyze kafka report cli".split(),
]
#: The same inside large packages: each part imports only parts before it.
INNER = {
    "sentstream.dataset": [
        *"formats distinct input_list folders tables inputs where one_row survey jobs meter".split(),
        *"outputs pieces manifest partitions work small_files plan report run planner".split(),
        *"preparation verify".split(),
    ],
    "sentstream.analyze": [
        *"intervals keyed_sums keys word_counts word_odds scored times cells timeline groups".split(),
        *"repeats languages sample strongest rows agreement knowledge result manifests".split(),
        *"gathering training versus run".split(),
    ],
    "sentstream.kafka": [
        *"names access clients messages watch dead_letters topics scoring sinks consume produce".split(),
    ],
    "sentstream_train": [
        *"config quiet data network elsewhere store fit inspect measure evaluate".split(),
        *"runs export tune report".split(),
    ],
}
#: Packages that load slowly, or are not installed with the runtime.
HEAVY = {
    *("numpy", "pyarrow", "onnxruntime", "kafka", "prometheus_client"),
    *("tensorflow", "keras", "onnx", "optuna", "sklearn", "matplotlib", "pandas"),
    *("boto3", "botocore", "fsspec", "obstore", "ray", "deltalake", "pyiceberg"),
    *("duckdb", "polars", "pyspark"),
}
#: Packages that the command line may load: typer and rich, with their dependencies.
PRINTING = {
    *("typer", "click", "rich", "annotated_doc", "shellingham", "pygments", "markdown_it", "mdurl"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions"),
    "attr",  # rich imports it if it is installed
}
TRAINING = {
    *("tensorflow", "keras", "tf2onnx", "onnx", "optuna", "sklearn", "matplotlib", "textblob"),
    "vaderSentiment",
}
#: Other packages that each room may import.
OUTSIDE = {
    "errors": set[str](),
    "markup": set[str](),
    "notebook": {"pyarrow"},
    "profile": set[str](),
    "packed": {"pyarrow"},
    "storage": {"boto3", "botocore", "fsspec", "obstore"},
    "text": {"numpy", "pyarrow", "nltk"},
    "drift": {"numpy"},
    "bundle": {"numpy", "pyarrow"},
    "cgroup": set[str](),
    "versions": set[str](),
    "cuda": {"numpy", "onnx"},
    "repeats": {"numpy"},
    "session": {"numpy", "pyarrow", "onnxruntime"},
    "scorer": {"numpy", "pyarrow"},
    "model": {"numpy", "pyarrow"},
    "explanation": {"numpy", "pyarrow"},
    "doctor": {"numpy", "pyarrow"},
    "dataset": {"numpy", "pyarrow", "sqlglot", "deltalake", "pyiceberg"},
    "engines": {"numpy", "pyarrow", "ray"},
    "duckdb": {"duckdb", "pyarrow"},
    "polars": {"polars", "pyarrow"},
    "pandas": {"pandas", "pyarrow"},
    "spark": {"pyspark", "pyarrow"},
    "analyze": {"numpy", "pyarrow"},
    "kafka": {"numpy", "pyarrow", "kafka", "confluent_kafka", "prometheus_client"},
    "report": {"numpy", "pyarrow", "rich"},
    "cli": {"numpy", "pyarrow", "rich", "typer", "click", "sentstream_train"},
}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def package_of(path: Path) -> str:
    """The package that a runtime file belongs to; "" for ``__init__.py`` and ``__main__.py``."""
    part = path.relative_to(ROOT / "sentstream").parts[0].removesuffix(".py")
    return "" if part in ("__init__", "__main__") else part


@cache
def imports(path: Path, *, top_level: bool = False) -> tuple[str, ...]:
    """Full names of the modules that a file imports, also inside functions, except under TYPE_CHECKING."""
    return tuple(_imports(path, top_level))


def _imports(path: Path, top_level: bool) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(child for statement in node.body for child in ast.walk(statement))
        if top_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            skipped.update(child for statement in node.body for child in ast.walk(statement))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written out in full"
            yield node.module or ""
            if node.module == "sentstream":
                yield from (f"sentstream.{alias.name}" for alias in node.names)


def tracked() -> list[Path]:
    """Files that git tracks or would track; without git, all files except build outputs."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode == 0 and listing.stdout:
        names = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
        return [path for path in names if path.is_file()]
    made = {"__pycache__", "build", "dist"}
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not any(
            part in made or part.startswith((".venv", ".git")) or part.endswith("_cache")
            for part in path.parts
        )
    ]


@cache
def tracked_texts() -> list[tuple[Path, str]]:
    """Every tracked text file except this one, which contains the forbidden patterns."""
    read = [(path, path.read_bytes()) for path in tracked() if path != Path(__file__).resolve()]
    return [(path, data.decode("utf-8", "replace")) for path, data in read if b"\0" not in data]


class TestPackages:
    def test_every_file_is_in_a_known_package(self) -> None:
        assert {package_of(path) for path in sources("sentstream")} - {""} <= set(ROOMS)

    def test_packages_import_only_from_lower_layers(self) -> None:
        for path in sources("sentstream"):
            room = package_of(path)
            for name in imports(path) if room else ():
                first, _, rest = name.partition(".")
                if first == "sentstream" and rest and rest.split(".")[0] not in ("__version__", "models"):
                    assert rest.split(".")[0] in ROOMS[: ROOMS.index(room) + 1], f"{path} imports {name}"

    @pytest.mark.parametrize("room", INNER)
    def test_modules_import_only_from_lower_layers(self, room: str) -> None:
        parts = INNER[room]
        folder = ROOT / ("train" if room == "sentstream_train" else "") / room.replace(".", "/")
        for path in sorted(folder.rglob("*.py")):
            part = path.relative_to(folder).parts[0].removesuffix(".py")
            for name in imports(path) if part != "__init__" else ():
                if name.startswith(f"{room}."):
                    other = name.removeprefix(f"{room}.").partition(".")[0]
                    assert other in parts[: parts.index(part) + 1], f"{path} imports {name}"

    def test_contributing_tree_lists_each_folder(self) -> None:
        text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
        tree = re.search(r"^```text\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        assert tree is not None
        named = set(re.findall(r"([\w.]+)/(?=[\s)]| {2}|, )", tree[1]))
        packages = {path.parent for path in [*sources("sentstream"), *sources("train/sentstream_train")]}
        top = {path.relative_to(ROOT).parts[0] for path in tracked() if len(path.relative_to(ROOT).parts) > 1}
        folders = {folder.name for folder in packages} | {name for name in top if not name.startswith(".")}
        assert folders - {"train"} <= named

    def test_each_folder_is_described(self) -> None:
        for folder in {path.parent for room in ("sentstream", "train", "tools") for path in sources(room)}:
            assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))), folder

    def test_packages_import_only_their_dependencies(self) -> None:
        for path in sources("sentstream"):
            allowed = OUTSIDE.get(package_of(path), {"numpy", "pyarrow"}) | {"sentstream"}
            found = {name.partition(".")[0] for name in imports(path)}
            assert found <= allowed | set(sys.stdlib_module_names), path

    def test_runtime_never_imports_training(self) -> None:
        for path in sources("sentstream"):
            # The extra `cuda` brings `onnx` with it; on the CPU nothing loads it, which a test below checks.
            barred = TRAINING - {"onnx"} if package_of(path) == "cuda" else TRAINING
            assert not {name.partition(".")[0] for name in imports(path)} & barred, path

    def test_only_commands_import_training_lazily(self) -> None:
        """The exception is its config module: the commands' options are made from its settings."""
        for path in sources("sentstream"):
            cli = package_of(path) == "cli"
            names = set(imports(path, top_level=cli)) - ({"sentstream_train.config"} if cli else set())
            assert "sentstream_train" not in {name.partition(".")[0] for name in names}, path

    def test_training_uses_the_shared_text_path(self) -> None:
        for path in sources("train"):
            names = {name.partition(".")[0] for name in imports(path)}
            assert not names & {"nltk", "tokenizers"} or path.parent.name == "inspect", path


def modules_after(code: str) -> set[str]:
    """Top-level modules loaded after running some code in a fresh interpreter."""
    program = f"import sys\n{code}\nprint()\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(run.stdout.splitlines()[-1].split())


class TestImportCost:
    def test_importing_sentstream_loads_nothing_heavy(self) -> None:
        assert not modules_after("import sentstream") & HEAVY

    def test_importing_the_command_line_loads_nothing_heavy(self) -> None:
        assert not modules_after("import sentstream.cli") & HEAVY

    def test_importing_the_duckdb_module_loads_nothing_heavy(self) -> None:
        assert not modules_after("import sentstream.duckdb") & HEAVY

    @pytest.mark.parametrize("door", ["pandas", "polars", "spark"])
    def test_integration_modules_load_only_their_library(self, door: str) -> None:
        loaded = modules_after(f"import sentstream.{door}")
        assert loaded & {"duckdb", "pandas", "polars", "pyspark"} <= {door}

    def test_runtime_loads_without_training_packages(self) -> None:
        blocked = f"sys.modules.update(dict.fromkeys({sorted(TRAINING)}))"
        loaded = modules_after(f"{blocked}\nimport sentstream\nsentstream.load('sentiment140').score(['hi'])")
        assert {"pyarrow", "onnxruntime"} <= loaded

    def test_importing_the_training_module_loads_no_tensorflow(self) -> None:
        loaded = modules_after(f"sys.path.insert(0, {str(ROOT / 'train')!r})\nimport sentstream_train")
        assert not loaded & HEAVY

    @pytest.mark.parametrize(
        "line", ["--help", "score --help", "consume --help", "train --help", "--version"]
    )
    def test_help_loads_only_what_it_needs(self, line: str) -> None:
        """Imports make help slow. The test checks these, not the time, which depends on the machine."""
        bare = modules_after("")
        loaded = modules_after(f"from sentstream.cli import main\nassert main({line.split()}) == 0")
        assert "sentstream" in loaded
        others = {name for name in loaded - bare if not name.startswith("_sysconfigdata")}
        assert others - sys.stdlib_module_names - {"sentstream", "sentstream_train"} <= PRINTING


@pytest.fixture(name="project")
def _project() -> dict[str, Any]:
    data: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return data["project"]


class TestPackage:
    def test_one_version_everywhere(self, project: dict[str, Any]) -> None:
        assert project["version"] == sentstream.__version__
        assert f"## [{sentstream.__version__}]" in (ROOT / "CHANGELOG.md").read_text()

    def test_both_packages_are_marked_typed(self) -> None:
        assert (ROOT / "sentstream/py.typed").exists()
        assert (ROOT / "train/sentstream_train/py.typed").exists()

    def test_every_requirement_is_pinned_and_its_pin_allowed(self) -> None:
        data = tomllib.loads((ROOT / "pyproject.toml").read_text())
        pins = {}
        for line in (ROOT / "constraints.txt").read_text().splitlines():
            if line and not line.startswith("#"):
                name, version = re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups()  # type: ignore[union-attr]
                pins[re.sub(r"[-_.]+", "-", name).lower()] = version
        wanted = data["build-system"]["requires"] + data["project"]["dependencies"]
        wanted += chain.from_iterable(data["project"]["optional-dependencies"].values())
        for requirement in map(Requirement, wanted):
            if requirement.name != "sentstream":
                assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement

    def test_runtime_needs_no_training_package(self, project: dict[str, Any]) -> None:
        needed = {Requirement(line).name.lower() for line in project["dependencies"]}
        kafka = {"kafka-python", "crc32c", "lz4", "python-snappy", "zstandard", "prometheus-client"}
        assert needed == {"numpy", "pyarrow", "rich", "sqlglot", "typer", *kafka}

    def test_script_entry_point(self, project: dict[str, Any]) -> None:
        assert project["scripts"] == {"sentstream": "sentstream.cli:main"}

    def test_shipped_models_are_small(self) -> None:
        for model in (ROOT / "sentstream/models").iterdir():
            assert sum(path.stat().st_size for path in model.rglob("*")) <= 30 * 1024**2, model


class TestExampleFile:
    def test_file_matches_the_script(self) -> None:
        script = ROOT / "examples/make_tweets.py"
        spec = importlib.util.spec_from_file_location("make_tweets", script)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["make_tweets"] = module  # dataclasses look their module up
        try:
            spec.loader.exec_module(module)
            written = module.table()
        finally:
            del sys.modules["make_tweets"]
        assert pq.read_table(ROOT / "examples/tweets.parquet").equals(written, check_metadata=True)

    def test_example_covers_edge_cases(self) -> None:
        table = pq.read_table(ROOT / "examples/tweets.parquet")
        texts = table["text"].to_pylist()
        assert table.num_rows >= 300
        assert len(set(table["id"].to_pylist())) == table.num_rows
        assert None in texts
        assert "" in texts
        assert any(text and text.isspace() for text in texts)
        assert any(text and "\0" in text for text in texts)
        assert max(len(text or "") for text in texts) == 20_000
        for letter in "😂ا今א":
            assert any(letter in (text or "") for text in texts)
        assert {None, "positive", "negative", "mixed", "neutral"} == set(table["expected"].to_pylist())


class TestTestSuite:
    #: Helpers that start child processes and make sure that they end.
    STARTING = ("processes.py", "terminals.py", "kafka_faults.py")

    def test_tests_kill_their_child_processes(self) -> None:
        for path in sorted((ROOT / "tests").rglob("*.py")):
            calls = [
                node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
            ]
            names = {getattr(call, "attr", getattr(call, "id", "")) for call in calls}
            assert "Popen" not in names or path.name in self.STARTING, f"{path}: use processes.child"
            assert not names & {"process_time", "perf_counter", "thread_time"}, f"{path}: no test is a race"


class TestForbiddenText:
    def test_no_registry_host(self) -> None:
        # Written so that it does not match itself.
        hosts = re.compile(
            r"index[-]url|https?://[^ ]*/(?:simpl[e]|maven[2])(?:[/\"' ]|$)"
            r"|\"resolve[d]\": *\"http|registr[y] *= *\"http|https?://(?:hub|registry|pypi|files)\."
        )
        for path, text in tracked_texts():
            if path.name != "vocabulary.txt":  # its words come from tweets
                assert not hosts.findall(text), path

    def test_no_machine_specific_paths(self) -> None:
        place = re.compile(r"(?<![\w.}*])/(?:work|root|home|Users|mnt)/\w+")
        for path, text in tracked_texts():
            assert not place.findall(text), path

    def test_no_loose_ends(self) -> None:
        loose = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|raise NotImplementedError")
        for path, text in tracked_texts():
            assert not loose.findall(text), path

    def test_american_spelling(self) -> None:
        british = re.compile(
            r"tokenis|normalis|optimis(?!t|m)|serialis|recognis|colour|behaviour|neighbour|labell|artefact|cancelled",
            re.IGNORECASE,
        )
        for path, text in tracked_texts():
            if path.name not in ("LICENSE", "vocabulary.txt"):
                # A folder of the data has a British name.
                found = british.search(text.replace('"unlabelled/', ""))
                assert found is None, f"{path}: {text[found.start() - 20 : found.end() + 20]!r}"
