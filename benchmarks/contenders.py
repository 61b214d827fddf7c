"""The contenders: each is a command that prints JSON, with its requirements and its number of rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks.elsewhere_peer import KINDS, sources_digest
from benchmarks.machine import ROOT
from benchmarks.rows import write_apart
from sentstream.bundle import DEFAULT_MODEL, load_bundle

#: The benchmarked default model, and the model that is compared with fastText.
MODEL, SMALL = DEFAULT_MODEL, "tweets-small"
#: Converted graphs and trained models, made once and kept.
KEPT = ROOT / "build" / "bench"


@dataclass(frozen=True)
class Contender:
    """A contender.

    Attributes:
        rows: Number of tweets that it gets; 0 if it gets none.
        command: Number of rows -> its command.
        modules: Modules that it imports beyond the runtime.
        env: Environment variables for it alone.
        kept: A file that is made once, and the command that makes it.
    """

    rows: int
    command: Callable[[int], list[str]]
    modules: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[Path, list[str]] | None = None

    @property
    def missing(self) -> list[str]:
        """The modules that are not installed."""
        return [name for name in self.modules if find_spec(name) is None]


class Files:
    """Files of tweets in a folder, each written on first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tweets(self, rows: int, **parts: int | None) -> Path:
        """Return a file of ``rows`` tweets; ``parts`` are keyword arguments of ``write_apart``."""
        named = {"tweets": rows, **parts}
        name = "-".join(f"{part}-{value}" for part, value in named.items() if value is not None)
        path = self.folder / f"{name}.parquet"
        if not path.exists():
            write_apart(path, rows, **parts)
        return path

    @property
    def output(self) -> Path:
        return self.folder / "scored.parquet"


def module(name: str, *arguments: object) -> list[str]:
    """Return a module of this folder as a command."""
    return [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)]


def score(source: Path, target: Path, model: str, *more: object) -> list[str]:
    """Return a ``sentstream score`` command."""
    command = [sys.executable, "-m", "sentstream", "score", str(source), "--output", str(target)]
    command += ["--model", model, "--provider", "cpu", "--overwrite", "--json"]
    return [*command, *map(str, more)]


def contenders(files: Files) -> dict[str, Contender]:
    """Return all contenders by name."""
    keras, digest = ("tensorflow", "keras"), load_bundle(MODEL).digest.removeprefix("sha256:")[:12]
    graph = KEPT / f"tf2onnx-{MODEL}-{digest}.onnx"
    peer = fasttext_file()

    def scored(model: str, *more: object) -> Callable[[int], list[str]]:
        return lambda rows: score(files.tweets(rows), files.output, model, *more)

    def run(name: str, *before: object, after: tuple[object, ...] = ()) -> Callable[[int], list[str]]:
        return lambda rows: module(name, *before, files.tweets(rows), rows, *after)

    def gemm(*threads: int) -> Contender:
        alone = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        return Contender(0, lambda rows: module("parts", "gemm", MODEL, *threads), env=alone)

    elsewhere: dict[str, Contender] = {}
    exporter, needs = sources_digest(), (*keras, "tf2onnx")
    for kind in KINDS:
        folder = KEPT / f"elsewhere-{kind}-{exporter}"
        kept = (folder / "bundle" / "SHA256SUMS", module("elsewhere_peer", "make", kind, folder))
        elsewhere |= {
            f"score-{kind}": Contender(200_000, scored(str(folder / "bundle")), needs, kept=kept),
            f"keras-{kind}": Contender(200_000, run("elsewhere_peer", "predict", folder), needs, kept=kept),
        }
    return {
        **elsewhere,
        "score": Contender(2_000_000, scored(MODEL)),
        "score-small": Contender(1_000_000, scored(SMALL)),
        "one-thread": Contender(1_000_000, scored(MODEL, "--threads", 1)),
        "two-threads": Contender(1_000_000, scored(MODEL, "--threads", 2)),
        "inference": Contender(500_000, run("parts", "inference", MODEL)),
        "gemm": gemm(),
        "gemm-one-thread": gemm(1),
        "gemm-two-threads": gemm(2),
        "text": Contender(500_000, run("parts", "text", MODEL)),
        "keras": Contender(60_000, run("keras_peer", "predict", MODEL), keras),
        "keras-sorted": Contender(60_000, run("keras_peer", "sorted", MODEL), keras),
        "tf2onnx": Contender(
            100_000,
            run("keras_peer", "tf2onnx", MODEL, after=(graph,)),
            (*keras, "tf2onnx"),
            kept=(graph, module("keras_peer", "convert", MODEL, graph)),
        ),
        "vader": Contender(300_000, run("vader_peer"), ("vaderSentiment",)),
        "fasttext": Contender(
            500_000,
            run("fasttext_peer", "predict", SMALL, peer),
            ("fasttext",),
            kept=(peer, module("fasttext_peer", "train", SMALL, peer)),
        ),
        "tokenizers": Contender(300_000, run("tokenizers_peer", MODEL), ("tokenizers",)),
    }


def fasttext_file() -> Path:
    """Return the path of the kept fastText model, which depends on data, settings and tokens."""
    from hashlib import sha256

    from benchmarks.fasttext_peer import SENTIMENT140, SETTINGS
    from benchmarks.rows import has_data

    fingerprint = f"{SETTINGS} {SENTIMENT140} {has_data()} {load_bundle(SMALL).config['text']}"
    return KEPT / f"fasttext-{sha256(fingerprint.encode()).hexdigest()[:12]}.bin"
