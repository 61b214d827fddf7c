"""Make the models that ship, from the data to sealed bundles: what ``make models`` runs.

Each step is a command that is printed before it runs, and writes into its own folder under ``build/models``.
A finished step is not rerun, and a killed one resumes where it was::

    python recipes/make_models.py                           # everything
    python recipes/make_models.py tweets                    # one model
    python recipes/make_models.py tweets --skip transfer    # without a step
    python recipes/make_models.py --recalibrate             # no training: recalibrate what ships

The data is read from $SENTSTREAM_DATA; ``recipes/README.md`` lists what must be there. The teachers' labels
are in ``recipes/minilm/labels`` and ``recipes/mpnet/labels``, as row numbers and probabilities; the same page
says how to make them.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from minilm.join import fingerprint, join, teacher_input, write_rows

HERE = Path(__file__).resolve().parent
LABELS = "negative,neutral,positive"
STEPS = ("vectors", "transfer", "distill", "calibrate")
TEACHERS = ("mpnet", "minilm")

#: The evaluation sets, labeled by people. The first and the last are never used for training. Nine in ten of
#: the Kaggle tweets are also in Sentiment140, where emoticons labeled them.
KAGGLE = "Kaggle tweet sentiment"
VALIDATION = "semeval/validation.parquet"
EMOTICONS = "sentiment140/train.parquet"
OFFICIAL = {"Sentiment140's official test": "sentiment140/test.parquet"}
SETS = {"SemEval-2017 validation": VALIDATION, KAGGLE: "kaggle_tse/train.parquet", **OFFICIAL}

#: The sets that the temperature is fitted to besides the SemEval validation set, all with equal weight: other
#: kinds of tweets, labeled by people, without rows used for training. Kept for evaluation are sets whose
#: labels are about a target, and ``gop_debate_dfe``, which is full of repeats.
CALIBRATED_ON = {
    "kaggle": "kaggle_tse/train.parquet",
    "apple_dfe": "more/apple_dfe.parquet",
    "coachella_dfe": "more/coachella_dfe.parquet",
    "self_driving_dfe": "more/self_driving_dfe.parquet",
    "semeval2018_valence": "more/semeval2018_valence.parquet",
}

FITTING = ("--batch-size", 256, "--learning-rate", 1e-3, "--schedule", "cosine")
TEACHING = ("--teacher-columns", "teacher_", "--teacher-weight", 0.7, "--teacher-temperature", 1.5)
#: Four epochs over the rows that the teachers labeled. ``LABELED`` is for those that people labeled, too, a
#: small part of them: early stopping ends it.
TAUGHT = ("--epochs", 4, "--patience", 0)
LABELED = ("--epochs", 48, "--patience", 3)

SHARED = "--arch pairs --words 60000 --pairs 150000 --activation hard_tanh --text-rules tweets-3"
#: Each model's network, as options of ``train``.
NETWORKS = {
    "tweets": f"{SHARED} --units 96,96 --embedding 96 --dropout 0.3",
    "tweets-small": f"{SHARED} --units 32 --embedding 32 --dropout 0.2",
    "sentiment140": f"{SHARED} --units 96,96 --embedding 96 --dropout 0.3",
}
#: The network without pairs and pooling.
SEED = "--arch seed --words 60000 --text-rules tweets-3 --units 128,128 --embedding 96"
#: The model with two labels, made after ``tweets``, from which it learns.
BINARY = "sentiment140"
VERSIONS = {"tweets": "2.3.0", "tweets-small": "2.2.0", "sentiment140": "2.0.0"}


class ModelBuilder:
    """The steps of the recipes.

    Args:
        data: The folder of the data.
        build: The folder of the steps' outputs.
        skip: Steps to leave out.
        teachers: Some of ``TEACHERS``.
    """

    def __init__(
        self, data: Path, build: Path, skip: Sequence[str] = (), teachers: Sequence[str] = TEACHERS
    ) -> None:
        self.data, self.build, self.skip, self.teachers = data, build, frozenset(skip), teachers

    def _skipped_suffix(self, *steps: str) -> str:
        """Return the suffix of a folder name: which of these steps were skipped."""
        return "".join(f"-no-{step}" for step in steps if step in self.skip)

    def run(self, *arguments: object) -> None:
        """Run a sentstream command."""
        words = [str(argument) for argument in arguments]
        print(f"$ sentstream {shlex.join(words)}", flush=True)
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "sentstream", *words], check=False, cwd=HERE.parent)
        if done.returncode:
            sys.exit(done.returncode)
        print(f"  {time.monotonic() - began:.0f} s", flush=True)

    def step(self, folder: str, command: Callable[[Path], list[object]], *, resumes: bool = True) -> Path:
        """Run a step unless it is finished, and return its folder, which ``command`` gets as its output."""
        output = self.build / folder
        finished = (output / "run.json").exists() and "finished" in json.loads(
            (output / "run.json").read_text("utf-8")
        )
        if finished or (output / "SHA256SUMS").exists():
            print(f"{folder}: done", flush=True)
            return output
        resume = ["--resume"] if resumes and (output / "run.json").exists() else []
        self.run(*command(output), *resume)
        return output

    def taught(self) -> list[Path]:
        """Return the files of texts with the teachers' probabilities, those that people labeled first.

        A text that several teachers labeled is learned from the first one.
        """
        files: list[Path] = []
        if "mpnet" in self.teachers:
            from mpnet.taught import taught

            files += taught(self.data, self.build / "taught/mpnet")
        if "minilm" in self.teachers:
            files += self._taught_by_minilm(self.build / "taught/minilm")
        return sorted(files, key=lambda path: not path.name.startswith("semeval"))

    def _taught_by_minilm(self, folder: Path) -> list[Path]:
        shares = sorted((HERE / "minilm/labels").glob("*.teacher.parquet"))
        outputs = {one: folder / one.name.replace(".teacher.", ".taught.") for one in shares}
        folder.mkdir(parents=True, exist_ok=True)
        missing = [one for one in shares if not outputs[one].exists()]
        files = {fingerprint(path): path for path in self.data.rglob("*.parquet")} if missing else {}
        for one in missing:
            wanted = teacher_input(one)
            if wanted not in files:
                sys.exit(f"no file under {self.data} matches {one.name} (recipes/README.md)")
            rows = join(one, files[wanted], outputs[one])
            print(f"{one.name}: {rows:,} rows of {files[wanted].name}", flush=True)
        return list(outputs.values())

    def held_out(self) -> list[object]:
        """Return the options that keep the evaluation rows out of training."""
        files = (VALIDATION, *OFFICIAL.values())
        return [part for file in files for part in ("--without", self.data / file)]

    def evaluation_files(self) -> dict[str, Path]:
        """Return the evaluation files by name: ``SETS``, and the Kaggle tweets that no step saw."""
        found: dict[str, Path] = {}
        for name, file in SETS.items():
            found[name] = self.data / file
            if name == KAGGLE:
                unseen = self.build / "kaggle-outside.parquet"
                if not unseen.exists():
                    write_outside({self.data / file: unseen}, [self.data / EMOTICONS])
                found[f"{name}, outside Sentiment140"] = unseen
        return found

    def calibration_files(self) -> list[Path]:
        """Return the files that a temperature is fitted to, without rows used for training."""
        outputs = {
            self.data / file: self.build / f"calibration/{name}.parquet"
            for name, file in CALIBRATED_ON.items()
        }
        if not all(output.exists() for output in outputs.values()):
            write_outside(outputs, [self.data / EMOTICONS, *self.taught()])
        return [self.data / VALIDATION, *outputs.values()]

    def recalibrate(self, name: str) -> Path:
        """Fit a new temperature for the model that ships, change nothing else, and return the new bundle."""
        model = self._calibrated(f"{name}/recalibrated", name)
        return self._exported(f"{name}/bundle-recalibrated", name, model, self.evaluation_files())

    def make(self, name: str, network: Sequence[str] = ()) -> Path:
        """Run all steps of a model with three labels; return its bundle. For the arguments, see ``train``."""
        folder = f"{name}/bundle{self._skipped_suffix(*STEPS)}"
        # Other cells have no int8 recurrence.
        precision = "fp32" if "--cell" in network else "int8"
        return self._exported(folder, name, self.train(name, network), self.evaluation_files(), precision)

    def train(self, name: str, network: Sequence[str] = ()) -> Path:
        """Run all steps before the export; return the calibrated Keras model.

        Args:
            name: Its name, and that of its folder.
            network: Options of ``train``; by default those of ``NETWORKS``.
        """
        network = self._with_vectors(network or NETWORKS[name].split())
        taught = self.taught()
        teaching = () if "distill" in self.skip else TEACHING
        rows, epochs = (taught[:1], LABELED) if self.skip & {"distill", "transfer"} else (taught, TAUGHT)
        tag = self._skipped_suffix(*STEPS[:-1])
        fitting = ("--labels", LABELS, "--validation", 0.04, *FITTING, *epochs, *teaching, *self.held_out())
        model = self.step(
            f"{name}/learned{tag}", lambda output: ["train", *rows, "--output", output, *network, *fitting]
        )
        return model if "calibrate" in self.skip else self._calibrated(f"{name}/calibrated{tag}", model)

    def make_binary(self, name: str, judge: Path) -> Path:
        """Run all steps of the model that learns from emoticons; return its bundle.

        Where a tweet shows no sign of the emoticon that its author chose, emoticons teach little. So the
        model also learns the probabilities of three teachers: two networks trained on the emoticons, and a
        model of three labels.

        Args:
            name: Its name, and that of its folder.
            judge: The bundle of the model of three labels.
        """
        tag = self._skipped_suffix(*STEPS)
        network = self._with_vectors(NETWORKS[name].split())
        drafts = [
            self._on_emoticons(f"{name}/draft{tag}", network),
            self._on_emoticons(f"{name}/draft-seed{tag}", self._with_vectors(SEED.split())),
        ]
        taught = self.build / f"{name}/taught{tag}.parquet"
        if not taught.exists():
            write_two_labels(judge, self.data / EMOTICONS, taught)
        teachers = [part for draft in drafts for part in ("--teacher", draft)]
        model = self.step(
            f"{name}/learned{tag}",
            lambda output: [
                *("train", taught, "--output", output, *network, "--epochs", 3, "--patience", 0),
                *(*self.held_out(), *teachers, "--teacher-columns", "teacher_", "--teacher-weight", 0.75),
            ],
        )
        files = {title: self.data / file for title, file in OFFICIAL.items()}
        return self._exported(f"{name}/bundle{tag}", name, model, files)

    def _on_emoticons(self, folder: str, network: Sequence[str]) -> Path:
        """Train on Sentiment140's labels alone."""
        return self.step(
            folder,
            lambda output: [
                *("train", self.data / EMOTICONS, "--output", output, *network),
                *("--epochs", 2, "--patience", 0, *self.held_out()),
            ],
        )

    def _with_vectors(self, network: Sequence[str]) -> list[str]:
        """Return a network's options, with those that start its words from a teacher's vectors."""
        if "vectors" in self.skip:
            return [*network]
        from mpnet.initial import VECTORS, initial_vectors

        width = int(network[network.index("--embedding") + 1])
        vectors, words = initial_vectors(VECTORS, width, self.build / "vectors")
        return [*network, "--embeddings", str(vectors), "--embeddings-words", str(words)]

    def _calibrated(self, folder: str, draft: Path | str) -> Path:
        return self.step(
            folder,
            lambda output: ["calibrate", draft, *self.calibration_files(), "--balance", "--output", output],
            resumes=False,
        )

    def _exported(
        self,
        folder: str,
        name: str,
        model: Path,
        evaluation_files: Mapping[str, Path],
        precision: str = "int8",
    ) -> Path:
        """Export a model's bundle, with its evaluation."""
        ships: Sequence[object] = ()
        if name in VERSIONS:
            ships = ("--model-version", VERSIONS[name], "--notes", HERE / f"cards/{name}.md")
        return self.step(
            folder,
            lambda output: [
                *("export-onnx", model, "--output", output),
                *("--name", name, "--tables", "int8", "--precision", precision),
                *ships,
                *(
                    part
                    for title, file in evaluation_files.items()
                    for part in ("--evaluate", f"{title}={file}")
                ),
            ],
            resumes=False,
        )


def write_outside(outputs: Mapping[Path, Path], others: Sequence[Path]) -> None:
    """Write text and label of each file's rows whose text is not in other files (as ``data overlap`` finds).

    Args:
        outputs: Each file, and where its remaining rows are written.
        others: Files of texts.
    """
    import numpy as np
    import pyarrow as pa

    from sentstream_train.config import DataConfig
    from sentstream_train.data.labeled import read_labeled
    from sentstream_train.data.split import leave_out

    remaining = leave_out(
        read_labeled(list(outputs)), read_labeled(others, keep_unlabeled=True), DataConfig()
    )
    files = remaining.file_of(remaining.row)
    for number, (data, output) in enumerate(outputs.items()):
        rows = remaining.take(np.flatnonzero(files == number))
        label = pa.array(rows.labels).take(pa.array(rows.label))
        write_rows(pa.table({"text": rows.text, "label": label}), output)
        names = ", ".join(other.name for other in others)
        print(f"{output.name}: {len(rows):,} rows of {data} that are in none of {names}", flush=True)


def write_two_labels(model: Path, data: Path, output: Path) -> None:
    """Write a file's rows with a model's probabilities of negative and positive, neutral left out.

    Args:
        model: A bundle with these labels.
        data: The rows, with a column ``text``.
        output: Where they are written, with the columns ``teacher_negative`` and ``teacher_positive``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    import sentstream

    with pq.ParquetFile(data) as file:
        rows = file.read(
            columns=[name for name in ("text", "label", "user") if name in file.schema_arrow.names]
        )
    scored = sentstream.load(str(model)).score(rows)
    negative, positive = (scored[f"sentiment_prob_{label}"] for label in ("negative", "positive"))
    share = pc.divide(positive, pc.add(negative, positive))
    rows = rows.append_column("teacher_negative", pc.subtract(pa.scalar(1, pa.float32()), share))
    write_rows(rows.append_column("teacher_positive", share), output, group_rows=100_000)


def options_of(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Path, Path]:
    """Parse the arguments; return them with the folders of the data and of the steps."""
    parser.add_argument("--build", type=Path, default=HERE.parent / "build/models")
    options = parser.parse_args()
    data = Path(os.environ.get("SENTSTREAM_DATA", HERE.parents[1] / "shared/data"))
    if not data.is_dir():
        sys.exit(f"{data} does not exist; SENTSTREAM_DATA names the folder of the data (recipes/README.md)")
    options.build.mkdir(parents=True, exist_ok=True)
    return options, data, options.build.resolve()


def main() -> None:
    """Run with the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", choices=[[], *NETWORKS], help="the models; default all")
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--skip", action="append", default=[], choices=STEPS, help="skip a step; may be repeated"
    )
    way.add_argument(
        "--recalibrate",
        action="store_true",
        help="recalibrate and export the models that ship, without training",
    )
    parser.add_argument("--teacher", choices=TEACHERS, help="learn from this teacher only; default: both")
    options, data, build = options_of(parser)
    if options.recalibrate:
        options.models = options.models or [name for name in NETWORKS if name != BINARY]
        if BINARY in options.models:
            parser.error(f"{BINARY} has no calibration")
    teachers = (options.teacher,) if options.teacher else TEACHERS
    builder = ModelBuilder(data, build / (options.teacher or ""), options.skip, teachers)
    for name in options.models or NETWORKS:
        if name == BINARY:
            made = builder.make_binary(name, builder.make("tweets"))
        else:
            made = (builder.recalibrate if options.recalibrate else builder.make)(name)
        print(f"{name}: {made}")


if __name__ == "__main__":
    main()
