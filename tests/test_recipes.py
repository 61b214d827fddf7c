"""The recipes: a teacher's rows are joined with their texts again, and only numbers are stored."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from synthetic import write_synthetic

import sentstream
from sentstream.bundle import load_bundle, replace_config
from sentstream.errors import DataError, InputNotFoundError, ModelFormatError
from sentstream.session import Session
from sentstream_train.export.card.figures import measure_bundle

ROOT = Path(__file__).resolve().parents[1]
LABELS = ("negative", "neutral", "positive")
MINILM = sorted((ROOT / "recipes/minilm/labels").glob("*.teacher.parquet"))
KEPT = [*MINILM, *sorted((ROOT / "recipes/mpnet/labels").glob("*.teacher.parquet"))]


def load(path: str) -> ModuleType:
    """Import a module of the recipes, which import each other from their folder."""
    name = path.removesuffix(".py").replace("/", ".")
    spec = importlib.util.spec_from_file_location(name, ROOT / "recipes" / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "recipes")
        patch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def joining() -> ModuleType:
    return load("minilm/join.py")


def write_shares(path: Path, rows: list[int], data_sha256: str) -> Path:
    """What a teacher would write for these rows: later ones are more positive."""
    share = np.linspace(0, 1, len(rows), dtype=np.float16)
    columns = {"row": pa.array(rows, pa.int32())}
    parts = (1 - share, np.zeros_like(share), share)
    columns |= {f"teacher_{name}": pa.array(part) for name, part in zip(LABELS, parts, strict=True)}
    pq.write_table(pa.table(columns).replace_schema_metadata({"data_sha256": data_sha256}), path)
    return path


@pytest.mark.parametrize("labels", [LABELS, LABELS[:2], None], ids=["all labels", "some labels", "no labels"])
def test_rows_get_their_texts_back(
    joining: ModuleType, tmp_path: Path, labels: tuple[str, ...] | None
) -> None:
    table = pa.table({"id": range(9), "text": [f"tweet {number}" for number in range(9)]})
    if labels:
        table = table.append_column("label", pa.array([labels[row % len(labels)] for row in range(9)]))
    data, output = tmp_path / "data.parquet", tmp_path / "out.parquet"
    pq.write_table(table, data)
    shares = write_shares(tmp_path / "shares.parquet", [1, 2, 3, 7, 8], joining.fingerprint(data))
    assert joining.join(shares, data, output) == 5
    found = pq.ParquetFile(output).read()
    assert found["text"].to_pylist() == [f"tweet {row}" for row in (1, 2, 3, 7, 8)]
    assert found["teacher_positive"].to_pylist() == [0, 0.25, 0.5, 0.75, 1]
    assert ("label" in found.column_names) == (labels == LABELS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "data.parquet",
        "out.parquet",
        "shares.parquet",
    ]


def test_another_file_is_rejected(joining: ModuleType, tmp_path: Path) -> None:
    data = tmp_path / "data.parquet"
    pq.write_table(pa.table({"text": ["a"]}), data)
    shares = write_shares(tmp_path / "shares.parquet", [0], "0" * 64)
    with pytest.raises(SystemExit, match="was not written for"):
        joining.join(shares, data, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("path", KEPT, ids=lambda path: "/".join(path.parts[-3:]))
def test_stored_files_have_probabilities_but_no_texts(joining: ModuleType, path: Path) -> None:
    schema = pq.read_schema(path)
    assert schema.names == ["row", *(f"teacher_{name}" for name in LABELS)]
    assert [str(one) for one in schema.types] in (
        ["int32", *["halffloat"] * 3],
        ["int32", *["uint8"] * 3],
    )
    assert len(schema.metadata[b"data_sha256"]) == 64
    table = pq.ParquetFile(path).read()
    rows = table["row"].to_numpy()
    assert (np.diff(rows) > 0).all()
    shares = joining.shares_of(table)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=2e-3)
    assert (shares >= 0).all()


def test_stored_files_exist() -> None:
    assert [path.name.split(".")[0] for path in MINILM] == ["semeval", "sentiment140", "tweets"]


def test_each_stored_file_belongs_to_a_data_set(joining: ModuleType) -> None:
    folder = Path(os.environ.get("SENTSTREAM_DATA", ROOT.parent / "shared/data"))
    if not folder.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{folder} does not exist")
        pytest.skip(f"{folder} does not exist")
    known = {joining.fingerprint(path) for path in folder.rglob("*.parquet")}
    # The file of phrases is made from the data; its labels have the fingerprint of its texts.
    labeled = [path for path in KEPT if not path.name.startswith("phrases.")]
    assert {joining.teacher_input(path) for path in labeled} <= known


@pytest.fixture(scope="module")
def tweets() -> ModuleType:
    return load("mpnet/tweets.py")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@you: see https://t.co/x  now", "@user: see http now"),
        ("#BestDayEver", "# Best Day Ever"),
        ("so good 😍❤️", "so good smiling face with heart-shaped eyes heavy black heart ️"),
        ("can&amp;#39;t ＳＴＯＰ", "can't STOP"),
        ("", ""),
    ],
)
def test_tweets_are_spelled_for_the_encoder(tweets: ModuleType, text: str, words: str) -> None:
    assert tweets.plain(text) == words


def test_batches_hold_each_row_once_and_one_length(tweets: ModuleType) -> None:
    drawn = np.random.default_rng(1)
    lengths = drawn.integers(2, 9, 200)
    found = list(tweets.batches(lengths, 24, drawn.permutation(200)))
    assert sorted(np.concatenate(found)) == list(range(200))
    for rows in found:
        assert len(set(lengths[rows])) == 1
        assert lengths[rows].sum() <= 24


def test_repeats_of_withheld_tweets_are_not_used_for_training(tweets: ModuleType, tmp_path: Path) -> None:
    learned, withheld = tmp_path / "learned.parquet", tmp_path / "withheld.parquet"
    text = ["I can't wait", "good morning :)", "good morning :(", "@a good morning :)", "so it goes", None]
    label = ["positive", "positive", "negative", "positive", "neutral", "neutral"]
    pq.write_table(pa.table({"text": text, "label": label}), learned)
    pq.write_table(pa.table({"text": ["@you I CAN`T wait!! http://t.co/x"]}), withheld)
    assert tweets.trainable_rows(learned, [withheld]).tolist() == [1, 2, 4]


@pytest.fixture(scope="module")
def transfer() -> ModuleType:
    return load("mpnet/transfer.py")


def test_chunks_become_one_file_of_their_source(
    joining: ModuleType, transfer: ModuleType, tmp_path: Path
) -> None:
    chunks = load("mpnet/chunks.py")
    sources = [transfer.Tweets("some", tmp_path / "some.parquet", "0" * 64, np.array([1, 4, 5, 7, 9]))]
    probabilities = np.array(
        [[1, 0, 0], [0.5, 0.3, 0.2], [0.998, 0.001, 0.001], [1 / 3] * 3, [0, 0.1, 0.9]], np.float32
    )

    def written(chunk: Any) -> None:
        chosen = np.isin(sources[0].rows, chunk.rows)
        chunks.write(chunk, probabilities[chosen], "1" * 64)

    for _ in range(2):  # one is written, then it goes on
        written(next(chunks.missing(sources, tmp_path, 2)))
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "some.00.teacher.parquet",
        "some.01.teacher.parquet",
    ]
    for chunk in chunks.missing(sources, tmp_path, 2):
        written(chunk)
    (whole,) = tmp_path.iterdir()
    assert whole.name == "some.teacher.parquet"
    found = pq.ParquetFile(whole).read()
    assert found["row"].to_pylist() == [1, 4, 5, 7, 9]
    np.testing.assert_allclose(joining.shares_of(found), probabilities, atol=0.004)
    assert joining.teacher_input(whole) == "0" * 64
    assert list(chunks.missing(sources, tmp_path, 2)) == []


def test_chunks_of_two_adapters_are_not_mixed(transfer: ModuleType, tmp_path: Path) -> None:
    chunks = load("mpnet/chunks.py")
    left = chunks.missing(
        [transfer.Tweets("some", tmp_path / "some.parquet", "0" * 64, np.array([1, 4]))], tmp_path, 1
    )
    for number in range(2):
        chunks.write(next(left), np.full((1, 3), 1 / 3, np.float32), str(number) * 64)
    with pytest.raises(SystemExit, match="come from different adapters"):
        next(left)
    assert len(list(tmp_path.iterdir())) == 2


def test_transfer_set_excludes_evaluation_tweets(
    transfer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(name: str, **columns: list[str]) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), tmp_path / name)

    monkeypatch.setattr(transfer, "JUDGED", ("more/judged.parquet",))
    sources = {
        "semeval": transfer.Source("more/labeled.parquet"),
        "a": transfer.Source("more/mixed.parquet", "a"),
        "b": transfer.Source("more/mixed.parquet", "b", 2),
    }
    monkeypatch.setattr(transfer, "SOURCES", sources)
    write("more/judged.parquet", text=["I can't wait", "so it goes"])
    write("more/labeled.parquet", text=["I CAN`T wait!", "hm"])
    text = ["@you i can`t wait", "one", "", "two", "ONE!", "three", "four", "five"]
    write("more/mixed.parquet", text=text, subset=["a", "a", "a", "b", "a", "b", "b", "b"])
    found = {one.name: one.rows.tolist() for one in transfer.transfer_set(tmp_path, tmp_path / "work")}
    assert list(found) == ["semeval", "phrases", "a", "b"]
    assert found["semeval"] == [0, 1]
    assert found["a"] == [1]
    assert len(found["b"]) == 2
    assert set(found["b"]) < {3, 5, 6, 7}
    again = {one.name: one.rows.tolist() for one in transfer.transfer_set(tmp_path, tmp_path / "work")}
    assert again == found

    joining = load("mpnet/taught.py")
    monkeypatch.setattr(joining, "SOURCES", sources)
    monkeypatch.setattr(joining, "transfer_set", transfer.transfer_set)
    labels = tmp_path / "labels"
    labels.mkdir()
    for source in transfer.transfer_set(tmp_path, tmp_path / "work"):
        with pytest.raises(SystemExit, match=f"not labeled yet: .*{source.name}"):
            joining.taught(tmp_path, tmp_path / "taught", labels)
        shares = labels / f"{source.name}.teacher.parquet"
        write_shares(shares, source.rows.tolist(), source.data_sha256)
    for _ in range(2):
        files = joining.taught(tmp_path, tmp_path / "taught", labels)
        assert [file.name.partition(".")[0] for file in files] == ["semeval", "phrases", "a", "b"]
        assert pq.ParquetFile(files[2]).read()["text"].to_pylist() == ["one"]
        (tmp_path / "more/mixed.parquet").unlink(missing_ok=True)  # what is done is not done again


def test_finished_chunks_of_further_samples_are_used(
    joining: ModuleType, transfer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, labels = tmp_path / "data.parquet", tmp_path / "labels"
    pq.write_table(pa.table({"text": [f"tweet {number}" for number in range(9)]}), data)
    digest = joining.fingerprint(data)
    sources = {
        "semeval": transfer.Source("data.parquet"),
        "more_1": transfer.Source("data.parquet", drawn=3, part=1),
        "more_2": transfer.Source("data.parquet", drawn=3, part=2),
    }
    rows = {"semeval": [0], "phrases": [1], "more_1": [2, 3, 4], "more_2": [5, 6, 7]}
    chosen = [transfer.Tweets(name, data, digest, np.array(of)) for name, of in rows.items()]
    taught = load("mpnet/taught.py")
    monkeypatch.setattr(taught, "SOURCES", sources)
    monkeypatch.setattr(taught, "transfer_set", lambda *_: chosen)
    labels.mkdir()
    for name in ("semeval", "phrases"):
        write_shares(labels / f"{name}.teacher.parquet", rows[name], digest)
    assert len(taught.taught(tmp_path, tmp_path / "first", labels)) == 2
    write_shares(labels / "more_1.teacher.parquet", rows["more_1"], digest)
    write_shares(labels / "more_2.00.teacher.parquet", rows["more_2"][:2], digest)
    files = taught.taught(tmp_path, tmp_path / "second", labels)
    found = [pq.ParquetFile(file).read()["text"].to_pylist() for file in files]
    assert found[2:] == [["tweet 2", "tweet 3", "tweet 4"], ["tweet 5", "tweet 6"]]


def test_samples_of_a_source_have_no_row_in_common(
    transfer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "JUDGED", ())
    pq.write_table(pa.table({"text": [f"tweet {number}" for number in range(8)]}), tmp_path / "one.parquet")
    parts = {f"s_{part}": transfer.Source("one.parquet", drawn=3, part=part) for part in range(3)}
    monkeypatch.setattr(transfer, "SOURCES", {"semeval": transfer.Source("one.parquet"), **parts})
    found = {one.name: one.rows.tolist() for one in transfer.transfer_set(tmp_path, tmp_path / "work")}
    assert [len(found[name]) for name in parts] == [3, 3, 2]
    assert sorted(row for name in parts for row in found[name]) == list(range(8))


def test_initial_vectors_keep_their_first_columns(tmp_path: Path) -> None:
    initial = load("mpnet/initial.py")
    vectors = np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32) * [6, 5, 4, 3, 2, 1]
    words = [f"word{number}" for number in range(39)] + ["😀"]
    initial.write_vectors(tmp_path / "vectors.npz", words, vectors)
    numbers, names = initial.initial_vectors(tmp_path / "vectors.npz", 4, tmp_path / "work")
    assert names.read_text("utf-8").splitlines() == words
    found = np.load(numbers)
    assert found.dtype == np.float32
    expected = vectors[:, :4] * (0.1 / vectors[:, :4].std())
    np.testing.assert_allclose(found, expected, atol=0.002)


@pytest.mark.parametrize("model", ["tweets", "tweets-small"])
def test_most_shipped_words_have_stored_vectors(tmp_path: Path, model: str) -> None:
    initial = load("mpnet/initial.py")
    numbers, names = initial.initial_vectors(initial.VECTORS, 32, tmp_path)
    words = names.read_text("utf-8").splitlines()
    assert words == initial.stored_words(initial.VECTORS)
    assert np.load(numbers).shape == (len(words), 32)
    shipped = (load_bundle(model).path / "vocabulary.txt").read_text("utf-8").splitlines()
    assert len({*shipped} & {*words}) > 0.8 * len(shipped)
    assert len({*shipped[:20_000]} - {*words}) < 100  # the frequent ones


def test_phrases_are_counted_within_tweets(tmp_path: Path) -> None:
    phrases = load("mpnet/phrases.py")
    columns = [
        pa.array(["could be better", "could be better 👎", "it could be", None]),
        pa.array(["@ana could be", "so could be better", "👎", "better http://t.co/x could be"]),
    ]
    found = phrases.phrases_of(columns, limits=(10, 2, 1), fewest=2)
    # Not "better could", whose words stand in two tweets, nor "@ana could".
    assert found.to_pylist() == ["be", "could", "better", "👎", "could be", "be better", "could be better"]
    assert "👎" in phrases.emoji().to_pylist()
    assert phrases.fingerprint_of(found) != phrases.fingerprint_of(found[::-1])


@pytest.fixture(scope="module")
def making() -> ModuleType:
    return load("make_models.py")


def test_rows_of_other_files_are_left_out(making: ModuleType, tmp_path: Path) -> None:
    def write(name: str, texts: list[str], label: list[str]) -> Path:
        pq.write_table(pa.table({"id": range(len(texts)), "text": texts, "label": label}), tmp_path / name)
        return tmp_path / name

    one = write(
        "one.parquet", ["I can't wait", "so it goes", "good morning"], ["positive", "other", "negative"]
    )
    two = write("two.parquet", ["Hm.", "good night", "GOOD MORNING!"], ["neutral", "positive", "positive"])
    learned = write("learned.parquet", ["@you I CAN`T wait!! http://t.co/x"], ["positive"])
    also = write("also.parquet", ["good evening", "hm"], ["positive", "neutral"])
    outputs = {one: tmp_path / "out/a.parquet", two: tmp_path / "out/b.parquet"}
    making.write_outside(outputs, [learned, also])
    found = {path.name: pq.read_table(path).to_pydict() for path in sorted((tmp_path / "out").iterdir())}
    assert found == {
        "a.parquet": {"text": ["so it goes", "good morning"], "label": ["other", "negative"]},
        "b.parquet": {"text": ["good night", "GOOD MORNING!"], "label": ["positive", "positive"]},
    }


def test_temperature_is_fitted_to_unseen_rows(
    making: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, taught = tmp_path / "data", tmp_path / "semeval.taught.parquet"
    for file in (making.VALIDATION, "sentiment140/train.parquet", *making.CALIBRATED_ON.values()):
        (data / file).parent.mkdir(parents=True, exist_ok=True)
        texts = [f"of {file} itself", "learned from emoticons", "learned from a teacher"]
        pq.write_table(pa.table({"text": texts, "label": LABELS}), data / file)
    pq.write_table(pa.table({"text": ["LEARNED from a teacher!"]}), taught)
    pq.write_table(
        pa.table({"text": ["@all learned from emoticons"], "label": ["positive"]}),
        data / "sentiment140/train.parquet",
    )
    builder = making.ModelBuilder(data, tmp_path / "build", ())
    monkeypatch.setattr(builder, "taught", lambda: [taught])
    done: list[list[str]] = []
    monkeypatch.setattr(builder, "run", lambda *words: done.append([str(word) for word in words]))
    builder.recalibrate("tweets")
    calibrating, exporting = done
    assert calibrating[:2] == ["calibrate", "tweets"]
    *files, balance, option, output = calibrating[2:]
    assert (balance, option, output) == ("--balance", "--output", str(tmp_path / "build/tweets/recalibrated"))
    assert files[0] == str(data / making.VALIDATION)
    assert [Path(file).stem for file in files[1:]] == list(making.CALIBRATED_ON)
    for name, file in zip(making.CALIBRATED_ON.values(), files[1:], strict=True):
        assert pq.read_table(file).to_pydict() == {"text": [f"of {name} itself"], "label": ["negative"]}
    assert exporting[:2] == ["export-onnx", output]
    assert exporting[exporting.index("--model-version") + 1] == making.VERSIONS["tweets"]


def test_two_labels_share_what_neutral_leaves(making: ModuleType, tmp_path: Path) -> None:
    data, output = tmp_path / "data.parquet", tmp_path / "folder/taught.parquet"
    texts = ["so good", "so bad", "", None]
    rows = {
        "text": texts,
        "label": [*LABELS[::2], *LABELS[::2]],
        "row": range(4),
        "user": ["a", None, "b", "b"],
    }
    pq.write_table(pa.table(rows), data)
    making.write_two_labels(Path("tweets-small"), data, output)
    found = pq.read_table(output)
    assert found.column_names == ["text", "label", "user", "teacher_negative", "teacher_positive"]
    assert found.drop_columns(["teacher_negative", "teacher_positive"]).to_pydict() == {
        name: list(rows[name]) for name in ("text", "label", "user")
    }
    model = sentstream.load("tweets-small")
    for row, text in enumerate(texts[:2]):
        scored = model.score(text)
        negative, positive = (scored[f"sentiment_prob_{label}"][0].as_py() for label in LABELS[::2])
        share = positive / (positive + negative)
        assert found["teacher_positive"][row].as_py() == pytest.approx(share, abs=1e-6)
        assert found["teacher_negative"][row].as_py() == pytest.approx(1 - share, abs=1e-6)
    assert found["teacher_positive"].to_pylist()[2:] == [None, None]


def test_binary_model_learns_from_emoticons_and_three_teachers(
    making: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data/sentiment140"
    data.mkdir(parents=True)
    pq.write_table(pa.table({"text": ["so good"], "label": ["positive"]}), data / "train.parquet")
    builder = making.ModelBuilder(tmp_path / "data", tmp_path / "build", ["vectors"])
    done: list[list[str]] = []
    monkeypatch.setattr(builder, "run", lambda *words: done.append([str(word) for word in words]))
    builder.make_binary("sentiment140", Path("tweets-small"))
    *drafting, learning, exporting = done
    drafts = [words[words.index("--output") + 1] for words in drafting]
    for words in drafting:
        assert words[:2] == ["train", str(data / "train.parquet")]
        assert "--teacher" not in words
    assert learning[:2] == ["train", str(tmp_path / "build/sentiment140/taught-no-vectors.parquet")]
    assert pq.read_schema(learning[1]).names[-2:] == ["teacher_negative", "teacher_positive"]
    assert [learning[at + 1] for at, word in enumerate(learning) if word == "--teacher"] == drafts
    for training in (*drafting, learning):
        kept = [training[at + 1] for at, word in enumerate(training) if word == "--without"]
        assert str(data / "test.parquet") in kept
    assert exporting[:2] == ["export-onnx", learning[learning.index("--output") + 1]]


def test_figures_are_added_a_few_at_a_time(tmp_path: Path) -> None:
    add, file = load("figures.py").add_figures, tmp_path / "figures.json"
    assert add(file, "model 1", ["a", "b", "c"], 2, lambda name: {"made": name}) == {
        "a": {"made": "a"},
        "b": {"made": "b"},
    }
    again = add(file, "model 1", ["c", "b", "a"], 9, lambda name: {"made": f"{name} later"})
    assert list(again.items()) == [("c", {"made": "c later"}), ("b", {"made": "b"}), ("a", {"made": "a"})]
    with pytest.raises(SystemExit, match=r"figures.json is about model 1; remove it to measure model 2"):
        add(file, "model 2", ["a"], 1, lambda name: {})


def test_front_in_the_docs_is_that_of_its_figures() -> None:
    front = load("front.py")
    figures, speed = (
        next(iter(json.loads(file.read_text("utf-8")).values())) for file in (front.FIGURES, front.SPEED)
    )
    assert front.table(figures, speed) in (ROOT / "docs/results.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["1 × 32", "GRU, 1 × 64", "seed, 2 × 128"])
def test_untrained_candidates_have_the_words_of_tweets(tmp_path: Path, name: str) -> None:
    front = load("front.py")
    bundle = load_bundle(str(front.untrained(front.CANDIDATES[name], tmp_path / "random")))
    words = bundle.text.vocabulary.words
    assert words.equals(load_bundle("tweets").text.vocabulary.words)
    assert Session(bundle, "cpu").probabilities(bundle.text.encode(pa.array(["so good"]))).shape == (1, 3)


def test_recipe_lists_its_inputs() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "recipes/make_models.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--skip {vectors,transfer,distill,calibrate}" in done.stdout
    environment = {**os.environ, "SENTSTREAM_DATA": str(ROOT / "nowhere")}
    refused = subprocess.run(
        [sys.executable, str(ROOT / "recipes/make_models.py")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert refused.returncode == 1
    assert "SENTSTREAM_DATA names the folder" in refused.stderr


@pytest.mark.slow
class TestCompleteCard:
    """A shipped model, and made-up rows."""

    @pytest.fixture(name="script")
    def _script(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("complete_card", ROOT / "recipes/complete_card.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    @pytest.fixture(name="copy")
    def _copy(self, tmp_path: Path) -> Path:
        return shutil.copytree(ROOT / "sentstream/models/sentiment140", tmp_path / "copy")

    @pytest.fixture(name="rows")
    def _rows(self, tmp_path: Path) -> Path:
        return write_synthetic(tmp_path / "rows.parquet", 90)

    def test_only_the_card_changes_and_only_once(self, script: ModuleType, copy: Path, rows: Path) -> None:
        old = {path.name: path.read_bytes() for path in copy.iterdir()}
        notes = copy.parent / "notes.md"
        notes.write_text("## Biases\n\n- mine\n\n## Limits\n\n- yours\n")
        before, after = script.complete(str(copy), notes, [f"Made of thin air={rows}"])
        assert after.digest != before.digest
        new = {path.name: path.read_bytes() for path in copy.iterdir()}
        assert {name for name in old if old[name] != new[name]} == {"README.md", "SHA256SUMS"}
        assert "| Made of thin air | 90 |" in after.card
        assert "### Made of thin air" in after.card
        assert after.card.endswith("- yours\n")
        assert "held out in training (Keras) | 29,977 | 83.97 % | 83.6–84.4 |" in after.card
        stamp = (copy / "README.md").stat().st_ino
        assert script.complete(str(copy), notes, [f"Made of thin air={rows}"])[1].digest == after.digest
        assert (copy / "README.md").stat().st_ino == stamp

    def test_same_rows_are_not_listed_under_two_names(
        self, script: ModuleType, copy: Path, rows: Path
    ) -> None:
        bundle = load_bundle(copy)
        found = measure_bundle(bundle, Session(bundle, "cpu"), rows)
        earlier = {"other.parquet": {**found, "n": 91}, "rows.parquet": found, "validation": {"n": 90}}
        joined = script.joined(earlier, {"Made of thin air": found})
        assert list(joined) == ["validation", "Made of thin air", "other.parquet"]
        assert list(script.joined(joined, {"other.parquet": {**found, "n": 7}})) == [
            *("validation", "other.parquet", "Made of thin air"),
        ]

    def test_card_matches_an_export_with_the_same_options(
        self, script: ModuleType, rows: Path, tmp_path: Path
    ) -> None:
        pytest.importorskip("tensorflow")
        from sentstream_train.config import DataConfig, FitConfig, NetworkConfig
        from sentstream_train.export.run import export
        from sentstream_train.runs.train import train

        network = NetworkConfig(words=60, min_count=1, embedding=4, units=(4,))
        run = train(
            [rows],
            tmp_path / "run",
            network=network,
            fitting=FitConfig(epochs=1),
            data=DataConfig(validation=0.3),
        )
        more = write_synthetic(tmp_path / "more.parquet", 40, seed=5)
        notes = ROOT / "recipes/cards/tweets.md"
        evaluate = [f"Thin air={more}", str(rows)]
        whole = export(run.folder.path, tmp_path / "whole", name="m", evaluate=evaluate, notes=notes).bundle
        plain = export(run.folder.path, tmp_path / "plain", name="m", tables="float32").bundle
        assert plain.card != whole.card
        assert script.complete(str(tmp_path / "plain"), notes, evaluate)[1].card == whole.card

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (("no-model", "--notes", "notes.md"), 30, "no-model is neither"),
            (("copy", "--notes", "none.md"), 10, "the notes none.md do not exist"),
            (("copy", "--notes", "notes.md", "--evaluate", "x=none.csv"), 10, "none.csv does not exist"),
            (("tiny", "--notes", "notes.md"), 61, "was not written by sentstream export-onnx"),
        ],
    )
    def test_errors_take_one_line_and_change_nothing(
        self, copy: Path, arguments: tuple[str, ...], code: int, message: str
    ) -> None:
        digest = load_bundle(copy).digest
        make_bundle(copy.parent / "tiny")
        (copy.parent / "notes.md").write_text("## Limits\n\n- yours\n")
        done = self.run(copy.parent, *arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.count("\n") == 1
        assert message in done.stderr
        assert load_bundle(copy).digest == digest

    def test_both_digests_are_printed(self, copy: Path) -> None:
        before = load_bundle(copy).digest
        notes = ROOT / "recipes/cards/sentiment140.md"
        done = self.run(copy.parent, "copy", "--notes", str(notes))
        assert done.returncode == 0
        assert done.stdout.split()[1:] == [before, "->", load_bundle(copy).digest]
        assert load_bundle(copy).name == "sentiment140"

    def run(self, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "recipes/complete_card.py"), *arguments]
        paths = os.pathsep.join((str(ROOT), str(ROOT / "train")))
        environment = {**os.environ, "PYTHONPATH": paths}
        return subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, check=False
        )


class TestCompleteReference:
    """A bundle that was exported here, and the rows that it was trained on."""

    @pytest.fixture(name="script")
    def _script(self) -> ModuleType:
        pytest.importorskip("tensorflow")
        return load("complete_reference.py")

    def test_reference_matches_the_export(self, script: ModuleType, tmp_path: Path) -> None:
        from sentstream_train.config import DataConfig, FitConfig, NetworkConfig
        from sentstream_train.export.run import export
        from sentstream_train.runs.train import train

        rows = write_synthetic(tmp_path / "rows.parquet", 3_000)
        others = write_synthetic(tmp_path / "others.parquet", 30, seed=1)
        run = train(
            [rows],
            tmp_path / "run",
            network=NetworkConfig(words=60, min_count=1, embedding=4, units=(4,)),
            fitting=FitConfig(epochs=1, batch_size=256),
            data=DataConfig(validation=1_200),
            without=[others],
        )
        whole = export(run.folder.path, tmp_path / "bundle").bundle
        assert whole.reference is not None
        bare = {key: value for key, value in whole.config.items() if key != "reference"}
        replace_config(whole.path, {**bare, "schema_version": 1})
        before, after = script.complete(str(whole.path), [rows], [others])
        assert before.reference is None
        assert (after.config, after.digest) == (whole.config, whole.digest)
        stamp = (whole.path / "config.json").stat().st_ino
        assert script.complete(str(whole.path), [rows], [others])[1].digest == whole.digest
        assert (whole.path / "config.json").stat().st_ino == stamp
        with pytest.raises(DataError, match=r"was trained on other files: rows\.parquet"):
            script.complete(str(whole.path), [write_synthetic(tmp_path / "wrong.parquet", 90)], [others])
        with pytest.raises(DataError, match=r"was kept from other files: others\.parquet"):
            script.complete(str(whole.path), [rows])
        with pytest.raises(InputNotFoundError, match=r"none\.parquet does not exist"):
            script.complete(str(whole.path), [rows], [tmp_path / "none.parquet"])
        assert load_bundle(whole.path).digest == whole.digest

    def test_model_without_provenance(self, script: ModuleType, tmp_path: Path) -> None:
        with pytest.raises(ModelFormatError, match="does not record its data, preparation, rows, training"):
            script.complete(str(make_bundle(tmp_path / "tiny")), [tmp_path / "rows.parquet"])

    @pytest.mark.parametrize(
        ("name", "of"),
        [
            ("tweets", "1,904 validation rows of semeval.taught.parquet"),
            ("tweets-small", "1,904 validation rows of semeval.taught.parquet"),
            ("sentiment140", "29,977 validation rows of taught.parquet"),
        ],
    )
    def test_shipped_models_have_a_reference(self, name: str, of: str) -> None:
        bundle = load_bundle(name)
        assert str(bundle.reference) == of
        assert bundle.config["provenance"]["rows"]["validation"] == int(
            of.split(maxsplit=1)[0].replace(",", "")
        )
