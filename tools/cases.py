"""How sentstream handles third-party models and files, as Markdown tables.

    python tools/cases.py models    # every model and vocabulary from mk_models.py: about ten minutes
    python tools/cases.py csv       # every CSV from csv_variants.py: seconds

The makers are in $SENTSTREAM_CASES (default ../shared/cases), tweets in $SENTSTREAM_DATA (../shared/data). A
model is exported and compared with Keras on 1,000 real tweets; a file is read, and its texts are compared
with what was written. If an error names an option, that is tried next. Exits with 1 if a label or a text
differs, or if a refusal is not exactly one line.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "train")]

import pyarrow.parquet as pq  # noqa: E402

from sentstream.cli import main as sentstream  # noqa: E402

CASES = Path(os.environ.get("SENTSTREAM_CASES", ROOT.parent / "shared" / "cases"))
DATA = Path(os.environ.get("SENTSTREAM_DATA", ROOT.parent / "shared" / "data"))
TWEETS = 1_000
#: Length that the models' texts were padded to.
PADDED_TO = "40"
#: Vocabularies of models that do not use the common Tokenizer; None: the model contains its own.
VOCABULARIES = {
    "numwords_bigemb": "tok500.json",
    "numwords_exact": "tok500.json",
    "charlevel": "tok_char.json",
    "filters": "tok_filters.json",
    "tv_inside": None,
    "tv_outside": "tv_vocab.txt",
}
#: Each kind of vocabulary is tried with this model.
READER = "stack_rnn_mask"
KINDS = (
    *("tok_nooov.json", "tok500.json", "word_index.json", "tok.pickle"),
    *("tv_vocab.txt", "tv_vocab_nospecial.txt", "sl_vocab.txt", None),
)
ERROR = "sentstream: error: "
#: Files with a text that nobody wrote: what pandas writes for a missing one.
OTHER_TEXTS = {"nan_text.csv"}
#: Files with a text and a label per line, and quotes that never close.
PLAIN = {"unbalanced_quote.csv"}


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: Its cells.
        sound: Whether an accepted case is right, or a refusal is one line.
        told: The refusal; empty if there was none.
    """

    cells: tuple[str, ...]
    sound: bool
    told: str = ""


def run(*arguments: object) -> tuple[dict[str, Any] | None, list[str]]:
    """Return a command's ``--json`` result, or None if it is refused, and the lines on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = sentstream([*(str(argument) for argument in arguments), "--json"])
    return (None if code else json.loads(out.getvalue())), err.getvalue().splitlines()


def made_by(maker: str, *arguments: object) -> None:
    """Run one of the makers.

    Raises:
        SystemExit: It does not exist, or fails.
    """
    script = CASES / "training" / maker
    if not script.exists():
        sys.exit(f"{script} does not exist; SENTSTREAM_CASES names the folder of the cases")
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"{script} failed: {done.stderr.decode('utf-8', 'replace').strip().splitlines()[-1]}")


# Models


def export_rows(folder: Path, tweets: Path, only: Sequence[str]) -> Iterator[Row]:
    """Yield a row per model and vocabulary, or two if a refusal names an option."""
    for model in sorted(folder.glob("*.keras")):
        ids_file = VOCABULARIES.get(model.stem, "tok.json")
        yield from _tries(folder, model, ids_file, tweets, only)
    for vocabulary in KINDS:
        yield from _tries(folder, folder / f"{READER}.keras", vocabulary, tweets, only)
    for other in ("old.h5", "only.weights.h5", "savedmodel"):
        yield from _tries(folder, folder / other, "tok.json", tweets, only)


def _tries(
    folder: Path, model: Path, vocabulary: str | None, tweets: Path, only: Sequence[str]
) -> Iterator[Row]:
    if only and model.stem not in only:
        return
    more: list[str] = []
    row = _exported(folder, model, vocabulary, tweets, more)
    yield row
    if "--pad-to" in row.told:
        more += ["--pad-to", PADDED_TO]
    if "--text-rules" in row.told:
        more += ["--text-rules", "keras-tokenizer"]
    if more:
        yield _exported(folder, model, vocabulary, tweets, more)


def _exported(folder: Path, model: Path, vocabulary: str | None, tweets: Path, more: Sequence[str]) -> Row:
    labels = "a,b,c,d,e" if model.stem == "five" else "negative,positive"
    command = ["export-onnx", model, "--output", folder / "bundle", "--overwrite", "--labels", labels]
    command += ["--vocabulary", folder / vocabulary] if vocabulary else []
    result, output = run(*command, "--parity-data", tweets, *more)
    arguments = " ".join([vocabulary or "", *more]).strip()
    if result is None:
        return _refused((model.name, arguments), output, folder)
    parity = result["parity"]
    way = next(note.split(":")[1] for note in result["notes"] if note.startswith("way:")).strip()
    # If only an option says how texts are tokenized, just ids are compared: within 1e-5, or it is refused.
    changed = parity.get("labels_changed")
    changes = f"ids only, of {parity['rows']:,}" if changed is None else f"{changed} of {parity['rows']:,}"
    cells = (model.name, arguments, way, changes, f"{parity['max_abs_difference']:.0e}")
    return Row(cells, not changed)


def _refused(cells: tuple[str, ...], lines: Sequence[str], folder: Path) -> Row:
    """Return the row of a refusal. It must be one line, not counting what Keras itself prints."""
    errors = [line for line in lines if line.startswith(ERROR)]
    message = errors[-1].removeprefix(ERROR).replace(f"{folder}/", "") if errors else "nothing"
    return Row((*cells, f"refused: {message}", "", ""), len(errors) == 1, message)


# Files


def read_rows(folder: Path) -> Iterator[Row]:
    """Yield a row per file, or more if a refusal names options."""
    with (folder / "official.csv").open(encoding="latin-1", newline="") as file:
        written = [row[5] for row in csv.reader(file)]
    for path in sorted(folder.iterdir()):
        row = _read(path, [], written)
        yield row
        columns: list[str] = []
        while named := re.search(r"(--(?:text|label)-column) ([\w-]+)", row.told):
            if named[1] in columns:
                break
            columns += [named[1], named[2]]
            row = _read(path, columns, written)
            yield row


def _read(path: Path, columns: Sequence[str], written: Sequence[str]) -> Row:
    from sentstream_train.data.labeled import read_labeled

    result, output = run("data", "inspect", path, *columns)
    arguments = " ".join(columns)
    if result is None:
        return _refused((path.name, arguments), output, path.parent)
    named = dict(zip(columns[::2], columns[1::2], strict=True))
    text, label = named.get("--text-column"), named.get("--label-column")
    if path.name in PLAIN:
        written = [line.rsplit(",", 1)[0] for line in path.read_text("utf-8").splitlines()[1:]]
    texts = read_labeled(path, text_column=text, label_column=label, unlabeled_ok=True).text.to_pylist()
    other = sum(a != b for a, b in zip(texts, written, strict=False)) + abs(len(texts) - len(written))
    labels = ", ".join(f"{one['label']} {one['rows']}" for one in result["labels"])
    outcome = "as written" if not other else f"{other} differ"
    if missing := result["rows"]["written_missing"]:
        outcome += f", {missing} of them nan, which is reported"
    advice = " ".join(output).replace(f"{path.parent}/", "")
    cells = (path.name, arguments, str(result["rows"]["inspected"]), labels or advice, outcome)
    return Row(cells, not other or path.name in OTHER_TEXTS, advice)


# Tables


def printed(head: Sequence[str], rows: Iterator[Row]) -> bool:
    """Print rows as they arrive; return whether all are sound."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    sound = True
    for row in rows:
        print(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row.cells)} |", flush=True)
        if not row.sound:
            sound = False
            print(f"{row.cells[0]} has an unexpected result", file=sys.stderr)
    return sound


def main() -> int:
    """Run with the command line's arguments; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["models", "csv"])
    parser.add_argument(
        "--only", action="append", default=[], metavar="MODEL", help="only this model; may be repeated"
    )
    parser.add_argument(
        "--made", type=Path, metavar="DIR", help="reuse this output folder of an earlier mk_models.py run"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, train = options.made or Path(temporary), DATA / "sentiment140" / "train.parquet"
        if options.what == "csv":
            if not options.made:
                made_by("csv_variants.py", folder)
            return not printed(("file", "given", "rows", "labels", "texts"), read_rows(folder))
        if not options.made:
            made_by("mk_models.py", folder, train)
        tweets = Path(temporary) / "tweets.parquet"
        texts = pq.read_table(train, columns=["text"])
        pq.write_table(texts.take(list(range(0, len(texts), len(texts) // TWEETS)))[:TWEETS], tweets)
        head = ("model", "vocabulary and options", "conversion", "labels that differ", "largest difference")
        return not printed(head, export_rows(folder, tweets, options.only))


if __name__ == "__main__":
    sys.exit(main())
