"""Bundles on disk: exactly what was written is read."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import WORDS, add_reference, make_bundle
from processes import PATIENCE, child, wait_until

from sentstream.bundle import (
    SCHEMA_VERSION,
    Bundle,
    list_models,
    load_bundle,
    replace_card,
    replace_config,
    save_bundle,
    store,
)
from sentstream.errors import (
    BundleDigestError,
    BundleError,
    BundleGraphError,
    BundleNotFoundError,
    BundleSchemaError,
    OutputExistsError,
    OutputWriteError,
    UsageError,
)

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("README.md", "config.json", "model.onnx", "pairs.parquet", "vocabulary.txt")


@pytest.fixture(name="bundle")
def _bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny")


def seal(directory: Path, **extra: bytes) -> None:
    """Write files and reseal the directory, as someone would who changes a bundle deliberately."""
    for name, data in extra.items():
        (directory / name).write_bytes(data)
    files = sorted(path for path in directory.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (directory / "SHA256SUMS").write_text("".join(lines))


def parts(bundle: Bundle) -> dict[str, Any]:
    return {
        "model": bundle.model,
        "vocabulary": bundle.text.vocabulary,
        "config": bundle.config,
        "card": bundle.card,
    }


class TestRoundTrip:
    def test_round_trip(self, bundle: Path) -> None:
        loaded = load_bundle(bundle)
        assert (loaded.name, loaded.version, loaded.labels) == ("tiny", "0.0.1", ("negative", "positive"))
        assert loaded.text.vocabulary.words.to_pylist() == WORDS
        assert loaded.text.vocabulary.pair_count == 3
        assert loaded.card == "# tiny\n"
        assert loaded.config == json.loads((bundle / "config.json").read_text())
        assert loaded.model == (bundle / "model.onnx").read_bytes()
        assert loaded.size == sum(path.stat().st_size for path in bundle.iterdir())
        assert loaded.text.max_chars == 1000

    def test_digest_matches_sha256sum(self, bundle: Path) -> None:
        sums = (bundle / "SHA256SUMS").read_bytes()
        loaded = load_bundle(bundle)
        assert loaded.digest == "sha256:" + hashlib.sha256(sums).hexdigest()
        assert loaded.short_digest == loaded.digest[:19]
        files = {line[66:]: line[:64] for line in sums.decode().splitlines()}
        assert tuple(files) == NAMES
        for name, digest in files.items():
            assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == digest
        if shutil.which("sha256sum"):
            subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=bundle, check=True)

    def test_equal_parts_have_equal_digests(self, bundle: Path, tmp_path: Path) -> None:
        loaded = load_bundle(bundle)
        again = save_bundle(tmp_path / "deep" / "er" / "copy", **parts(loaded))
        assert again == loaded.digest
        for name in (*NAMES, "SHA256SUMS"):
            assert (tmp_path / "deep/er/copy" / name).read_bytes() == (bundle / name).read_bytes()

    def test_any_changed_byte_changes_the_digest(self, bundle: Path, tmp_path: Path) -> None:
        loaded = load_bundle(bundle)
        other = save_bundle(tmp_path / "other", **{**parts(loaded), "card": "# Tiny\n"})
        assert other != loaded.digest

    def test_no_pairs_file_without_pairs(self, tmp_path: Path) -> None:
        path = make_bundle(tmp_path / "words", pairs=False)
        assert not (path / "pairs.parquet").exists()
        assert load_bundle(path).text.vocabulary.pairs is None

    def test_max_chars_can_be_changed(self, bundle: Path) -> None:
        assert load_bundle(bundle, max_chars=5).text.max_chars == 5
        for wrong in (0, -1):
            with pytest.raises(UsageError, match="max_chars"):
                load_bundle(bundle, max_chars=wrong)

    def test_saving_leaves_only_the_bundle(self, bundle: Path) -> None:
        assert [path.name for path in bundle.parent.iterdir()] == ["tiny"]
        assert sorted(path.name for path in bundle.iterdir()) == sorted((*NAMES, "SHA256SUMS"))


class TestTampering:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("where", ["first", "middle", "last"])
    @pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
    def test_any_changed_byte_is_detected(self, bundle: Path, name: str, where: str, mask: int) -> None:
        data = bytearray((bundle / name).read_bytes())
        data[{"first": 0, "middle": len(data) // 2, "last": -1}[where]] ^= mask
        (bundle / name).write_bytes(data)
        with pytest.raises(BundleDigestError, match=f"{name} does not match its checksum") as caught:
            load_bundle(bundle)
        assert caught.value.exit_code == 31
        assert str(bundle) in caught.value.message

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\n", lambda data: b""])
    def test_any_changed_length_is_detected(
        self, bundle: Path, name: str, change: Callable[[bytes], bytes]
    ) -> None:
        (bundle / name).write_bytes(change((bundle / name).read_bytes()))
        with pytest.raises(BundleDigestError, match="does not match its checksum"):
            load_bundle(bundle)

    @pytest.mark.parametrize("name", [*NAMES, "SHA256SUMS"])
    def test_missing_file_is_named(self, bundle: Path, name: str) -> None:
        (bundle / name).unlink()
        with pytest.raises(BundleDigestError, match=f"{name} is missing"):
            load_bundle(bundle)

    def test_swapped_files_are_detected(self, bundle: Path) -> None:
        card, words = bundle / "README.md", bundle / "vocabulary.txt"
        first, second = card.read_bytes(), words.read_bytes()
        card.write_bytes(second)
        words.write_bytes(first)
        with pytest.raises(BundleDigestError):
            load_bundle(bundle)

    def test_every_byte_of_the_checksum_file_matters(self, bundle: Path) -> None:
        sums = (bundle / "SHA256SUMS").read_bytes()
        for index in range(0, len(sums), 7):
            changed = bytearray(sums)
            changed[index] ^= 0x04
            (bundle / "SHA256SUMS").write_bytes(changed)
            with pytest.raises(BundleDigestError):
                load_bundle(bundle)

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text[:-1],
            lambda text: "",
            lambda text: text.replace("\n", "\r\n"),
            lambda text: text + "\n",
            lambda text: text + text.splitlines(keepends=True)[0],
            lambda text: "".join(reversed(text.splitlines(keepends=True))),
            lambda text: text.upper(),
            lambda text: text.replace("  ", " *"),
            lambda text: text.replace("README.md", "../README.md"),
            lambda text: text.replace("README.md", "/etc/passwd"),
            lambda text: text.replace("README.md", ".hidden"),
            lambda text: text.replace("README.md", "a/b"),
            lambda text: text.replace("README.md", "README.md\0"),
            lambda text: text.replace("README.md", "SHA256SUMS"),
            lambda text: "".join(text.splitlines(keepends=True)[1:]),
            lambda text: text + f"{'0' * 64}  z\n" * 1,
            lambda text: text + "é\n",
        ],
    )
    def test_checksums_of_another_format_are_rejected(
        self, bundle: Path, change: Callable[[str], str]
    ) -> None:
        sums = bundle / "SHA256SUMS"
        sums.write_bytes(change(sums.read_text()).encode())
        with pytest.raises(BundleDigestError):
            load_bundle(bundle)

    def test_unlisted_file_is_not_read(self, bundle: Path) -> None:
        before = load_bundle(bundle)
        (bundle / "notes.txt").write_text("not a part of it")
        assert load_bundle(bundle).digest == before.digest

    def test_additional_listed_file_changes_the_digest(self, bundle: Path) -> None:
        before = load_bundle(bundle).digest
        seal(bundle, LICENSE=b"free\n")
        assert load_bundle(bundle).digest != before
        (bundle / "LICENSE").write_bytes(b"Free\n")
        with pytest.raises(BundleDigestError, match="LICENSE"):
            load_bundle(bundle)


class TestFileLocations:
    def test_link_inside_the_bundle_is_followed(self, bundle: Path) -> None:
        (bundle / "model.onnx").rename(bundle / "real")
        (bundle / "model.onnx").symlink_to("real")
        assert load_bundle(bundle).name == "tiny"

    @pytest.mark.parametrize("name", [*NAMES, "SHA256SUMS"])
    def test_link_out_of_the_bundle_is_rejected(self, bundle: Path, name: str) -> None:
        outside = bundle.parent / "outside"
        (bundle / name).rename(outside)
        (bundle / name).symlink_to(outside)
        with pytest.raises(BundleDigestError, match="points outside the bundle"):
            load_bundle(bundle)

    def test_link_that_leaves_and_returns_is_rejected(self, bundle: Path) -> None:
        hop = bundle.parent / "hop"
        hop.symlink_to(bundle)
        (bundle / "README.md").rename(bundle / "real")
        (bundle / "README.md").symlink_to(hop / "real")
        assert load_bundle(bundle).card == "# tiny\n"  # it leads to a file of the bundle in the end
        (bundle / "README.md").unlink()
        (bundle / "README.md").symlink_to("README.md")
        with pytest.raises(BundleDigestError, match=r"cannot be read|missing"):
            load_bundle(bundle)

    def test_bundle_directory_may_be_a_link(self, bundle: Path) -> None:
        link = bundle.parent / "link"
        link.symlink_to(bundle)
        assert load_bundle(link).digest == load_bundle(bundle).digest

    def test_pipe_does_not_block(self, bundle: Path) -> None:
        (bundle / "README.md").unlink()
        os.mkfifo(bundle / "README.md")
        with pytest.raises(BundleDigestError, match="not a regular file"):
            load_bundle(bundle)

    def test_directory_in_place_of_a_file_leaks_no_handle(self, bundle: Path) -> None:
        (bundle / "README.md").unlink()
        (bundle / "README.md").mkdir()
        handles = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        for _ in range(20):
            with pytest.raises(BundleDigestError, match="not a regular file"):
                load_bundle(bundle)
        if handles:
            assert len(os.listdir("/proc/self/fd")) == handles

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_unreadable_file_is_named(self, bundle: Path) -> None:
        (bundle / "README.md").chmod(0)
        with pytest.raises(BundleDigestError, match=r"README\.md cannot be read"):
            load_bundle(bundle)

    @pytest.mark.parametrize(
        ("name", "size"), [("README.md", 17 << 20), ("config.json", 2 << 20), ("SHA256SUMS", 1 << 20)]
    )
    def test_huge_file_is_not_read(self, bundle: Path, name: str, size: int) -> None:
        with (bundle / name).open("r+b") as file:
            file.truncate(size)
        with pytest.raises(BundleDigestError, match=r"more than the .* allowed in a bundle"):
            load_bundle(bundle)


class TestLookup:
    @pytest.mark.parametrize(
        "name", ["nope", "", "no/such/place", "x" * 5000, "nul\0byte", "../../etc", "models", "line\nbreak"]
    )
    def test_missing_bundle_is_reported(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises((BundleNotFoundError, BundleDigestError)):
            load_bundle(name)

    def test_keras_file_error_suggests_the_export_command(self, tmp_path: Path) -> None:
        path = tmp_path / "model.keras"
        path.write_bytes(b"PK")
        with pytest.raises(BundleNotFoundError, match="sentstream export-onnx"):
            load_bundle(path)

    def test_regular_file_is_not_a_bundle(self, bundle: Path) -> None:
        with pytest.raises(BundleNotFoundError, match="a bundle is a directory"):
            load_bundle(bundle / "model.onnx")

    def test_other_directory_is_not_a_bundle(self, tmp_path: Path) -> None:
        with pytest.raises(BundleDigestError, match=r"SHA256SUMS is missing.*is this a bundle directory"):
            load_bundle(tmp_path)

    def test_shipped_model_names_take_precedence(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        models = tmp_path / "models"
        monkeypatch.setattr(store, "MODELS", models)
        assert list_models() == []
        shipped = make_bundle(models / "alpha", seed=1)
        make_bundle(models / "beta", seed=2)
        (models / "broken").mkdir()
        (models / "__pycache__").mkdir()
        (models / ".alpha.1-ff.tmp").mkdir()
        (models / "a-file").write_text("")
        assert list_models() == ["alpha", "beta", "broken"]
        monkeypatch.chdir(tmp_path)
        local = make_bundle(tmp_path / "alpha", seed=3)
        assert load_bundle("alpha").digest == load_bundle(shipped).digest
        assert load_bundle("./alpha").digest == load_bundle(local).digest != load_bundle("alpha").digest
        with pytest.raises(BundleNotFoundError, match="did you mean beta"):
            load_bundle("betta")
        with pytest.raises(BundleNotFoundError, match="models that ship: alpha, beta, broken"):
            load_bundle("zzzzzz")
        with pytest.raises(BundleDigestError, match="SHA256SUMS is missing"):
            load_bundle("broken")


class TestInconsistentParts:
    """Bundles with correct checksums but inconsistent contents."""

    def test_newer_schema_asks_for_a_newer_sentstream(self, bundle: Path) -> None:
        config = json.loads((bundle / "config.json").read_text())
        seal(bundle, **{"config.json": json.dumps({**config, "schema_version": SCHEMA_VERSION + 1}).encode()})
        with pytest.raises(BundleSchemaError, match="upgrade sentstream") as caught:
            load_bundle(bundle)
        assert caught.value.exit_code == 32

    @pytest.mark.parametrize(("words", "pairs"), [(len(WORDS) + 1, 3), (len(WORDS) - 1, 3), (len(WORDS), 2)])
    def test_size_differs_from_declaration(self, bundle: Path, words: int, pairs: int) -> None:
        config = json.loads((bundle / "config.json").read_text())
        config["vocabulary"] = {"words": words, "pairs": pairs}
        seal(bundle, **{"config.json": json.dumps(config).encode()})
        with pytest.raises(BundleSchemaError, match=r"config\.json declares"):
            load_bundle(bundle)

    def test_vocabulary_larger_than_the_embedding(self, bundle: Path) -> None:
        config = json.loads((bundle / "config.json").read_text())
        config["vocabulary"]["words"] += 1
        words = (bundle / "vocabulary.txt").read_bytes() + b"extra\n"
        seal(bundle, **{"config.json": json.dumps(config).encode(), "vocabulary.txt": words})
        with pytest.raises(BundleGraphError, match="table of 27 rows; the vocabulary has 28"):
            load_bundle(bundle)

    def test_more_labels_than_outputs(self, bundle: Path) -> None:
        config = json.loads((bundle / "config.json").read_text())
        config["labels"].append("third")
        seal(bundle, **{"config.json": json.dumps(config).encode()})
        with pytest.raises(BundleGraphError, match="probabilities has the shape"):
            load_bundle(bundle)

    def test_pairs_file_but_graph_without_pairs(self, tmp_path: Path) -> None:
        path = make_bundle(tmp_path / "words", pairs=False)
        seal(path, **{"pairs.parquet": (make_bundle(tmp_path / "both") / "pairs.parquet").read_bytes()})
        with pytest.raises(BundleSchemaError, match=r"has pairs\.parquet; its graph takes words"):
            load_bundle(path)

    def test_graph_with_pairs_but_no_pairs_file(self, bundle: Path) -> None:
        (bundle / "pairs.parquet").unlink()
        seal(bundle)
        with pytest.raises(BundleSchemaError, match=r"lacks pairs\.parquet; its graph takes words and pairs"):
            load_bundle(bundle)

    def test_decompression_bomb_of_pairs_is_rejected(self, bundle: Path) -> None:
        sink = io.BytesIO()
        many = np.zeros(20_000_000, np.int32)
        pq.write_table(pa.table({"previous": many, "current": many}), sink, compression="zstd")
        assert len(sink.getvalue()) < 200_000
        config = json.loads((bundle / "config.json").read_text())
        config["vocabulary"]["pairs"] = len(many)
        seal(bundle, **{"pairs.parquet": sink.getvalue(), "config.json": json.dumps(config).encode()})
        memory = pa.proxy_memory_pool(pa.default_memory_pool())
        before = pa.default_memory_pool()
        pa.set_memory_pool(memory)
        try:
            with pytest.raises(BundleSchemaError, match="too small"):
                load_bundle(bundle)
        finally:
            pa.set_memory_pool(before)
        assert memory.max_memory() < many.nbytes / 10

    @pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"\0" * 20 + b"PAR1", b"\xff" * 100])
    def test_pairs_that_are_not_parquet(self, bundle: Path, data: bytes) -> None:
        seal(bundle, **{"pairs.parquet": data})
        with pytest.raises(BundleSchemaError, match=r"pairs\.parquet cannot be read"):
            load_bundle(bundle)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (b"\xff\xfe\n" + b"x\n" * (len(WORDS) - 1), "not UTF-8"),
            ("\n".join(["<unk>", "<pad>", *WORDS[2:], ""]).encode(), "must begin with"),
            ("\n".join([*WORDS[:-1], "i", ""]).encode(), "repeats a word"),
            (b"", "0 words"),
        ],
    )
    def test_invalid_vocabulary(self, bundle: Path, words: bytes, message: str) -> None:
        seal(bundle, **{"vocabulary.txt": words})
        with pytest.raises(BundleSchemaError, match=message):
            load_bundle(bundle)

    def test_card_that_is_not_text(self, bundle: Path) -> None:
        seal(bundle, **{"README.md": b"\xff\xfe"})
        with pytest.raises(BundleSchemaError, match=r"README\.md is not UTF-8"):
            load_bundle(bundle)

    def test_errors_are_one_short_line(self, bundle: Path) -> None:
        config = json.loads((bundle / "config.json").read_text())
        seal(bundle, **{"config.json": json.dumps({**config, "name": "\x1b]0;x\n" * 9999}).encode()})
        with pytest.raises(BundleSchemaError) as caught:
            load_bundle(bundle)
        assert len(str(caught.value)) < 500
        assert str(caught.value).isprintable()


class TestReplaceCard:
    def test_only_the_card_and_its_hash_change(self, bundle: Path) -> None:
        before, old = load_bundle(bundle), {path.name: path.read_bytes() for path in bundle.iterdir()}
        digest = replace_card(bundle, "# other\n")
        after, new = load_bundle(bundle), {path.name: path.read_bytes() for path in bundle.iterdir()}
        assert after.card == "# other\n"
        assert after.digest == digest != before.digest
        assert {name for name in old if old[name] != new[name]} == {"README.md", "SHA256SUMS"}
        sums = [set(files["SHA256SUMS"].splitlines()) for files in (old, new)]
        assert all(line.endswith(b"  README.md") for line in sums[0] ^ sums[1])
        assert replace_card(bundle, before.card) == before.digest
        assert [path.name for path in bundle.parent.iterdir()] == ["tiny"]

    def test_config_can_be_replaced_too(self, bundle: Path) -> None:
        before, old = load_bundle(bundle), {path.name: path.read_bytes() for path in bundle.iterdir()}
        assert before.reference is None
        reference = add_reference(bundle, ["good day", "bad day ."] * 600)
        after, new = load_bundle(bundle), {path.name: path.read_bytes() for path in bundle.iterdir()}
        assert after.reference is not None
        assert after.reference.to_dict() == reference.to_dict()
        assert after.digest != before.digest
        assert {name for name in old if old[name] != new[name]} == {"config.json", "SHA256SUMS"}
        assert replace_config(bundle, before.config) == before.digest
        with pytest.raises(BundleSchemaError, match="declares 7"):
            replace_config(bundle, {**before.config, "vocabulary": {"words": 7, "pairs": 3}})
        assert load_bundle(bundle).digest == before.digest

    def test_invalid_bundle_is_not_resealed(self, bundle: Path) -> None:
        """Resealing it would hide the damage."""
        (bundle / "model.onnx").write_bytes(b"other")
        with pytest.raises(BundleDigestError, match=r"tiny: model\.onnx does not match its checksum"):
            replace_card(bundle, "# other\n")
        assert (bundle / "README.md").read_text() == "# tiny\n"

    def test_invalid_card(self, bundle: Path) -> None:
        digest = load_bundle(bundle).digest
        with pytest.raises(BundleSchemaError):
            replace_card(bundle, "\ud800")
        with pytest.raises(BundleDigestError):
            replace_card(bundle, "x" * (17 << 20))
        assert load_bundle(bundle).digest == digest

    def test_directory_with_other_files(self, bundle: Path) -> None:
        (bundle / "thesis.txt").write_text("years of work")
        with pytest.raises(OutputExistsError, match="is not replaced"):
            replace_card(bundle, "# other\n")
        assert (bundle / "thesis.txt").read_text() == "years of work"


class TestSaving:
    def test_existing_bundle_is_not_overwritten(self, bundle: Path) -> None:
        loaded = load_bundle(bundle)
        with pytest.raises(OutputExistsError, match="--overwrite"):
            save_bundle(bundle, **{**parts(loaded), "card": "new"})
        assert load_bundle(bundle).digest == loaded.digest

    def test_existing_bundle_is_overwritten_on_request(self, bundle: Path) -> None:
        loaded = load_bundle(bundle)
        digest = save_bundle(bundle, **{**parts(loaded), "card": "new"}, overwrite=True)
        assert load_bundle(bundle).digest == digest != loaded.digest
        assert [path.name for path in bundle.parent.iterdir()] == ["tiny"]

    def test_empty_directory_is_filled(self, bundle: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        save_bundle(tmp_path / "empty", **parts(load_bundle(bundle)), overwrite=True)
        assert load_bundle(tmp_path / "empty").name == "tiny"

    @pytest.mark.parametrize("other", ["thesis.txt", "sub"])
    def test_directory_with_other_files_is_never_replaced(self, bundle: Path, other: str) -> None:
        loaded = load_bundle(bundle)
        if other == "sub":
            (bundle / other).mkdir()
        else:
            (bundle / other).write_text("years of work")
        with pytest.raises(OutputExistsError, match="is not replaced"):
            save_bundle(bundle, **parts(loaded), overwrite=True)
        assert (bundle / other).exists()

    def test_regular_file_is_never_replaced(self, bundle: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("keep me")
        with pytest.raises(OutputExistsError):
            save_bundle(tmp_path / "file", **parts(load_bundle(bundle)), overwrite=True)
        assert (tmp_path / "file").read_text() == "keep me"

    def test_link_is_kept_and_its_target_replaced(self, bundle: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(bundle)
        digest = save_bundle(
            tmp_path / "link", **{**parts(load_bundle(bundle)), "card": "new"}, overwrite=True
        )
        assert (tmp_path / "link").is_symlink()
        assert load_bundle(bundle).digest == digest

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"model": b"not onnx"}, BundleError),
            ({"config": {}}, BundleSchemaError),
            ({"card": "\ud800"}, BundleSchemaError),
            ({"card": "x" * (17 << 20)}, BundleDigestError),
        ],
    )
    def test_unloadable_bundle_is_not_written(
        self, bundle: Path, tmp_path: Path, change: dict[str, Any], error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            save_bundle(tmp_path / "new" / "bundle", **{**parts(load_bundle(bundle)), **change})
        assert not (tmp_path / "new").exists()

    def test_unwritable_directory(self, bundle: Path) -> None:
        for place in (bundle / "model.onnx" / "below", bundle.parent / ("n" * 300)):
            with pytest.raises(OutputWriteError, match="cannot be written") as caught:
                save_bundle(place, **parts(load_bundle(bundle)))
            assert caught.value.exit_code == 21

    @pytest.mark.parametrize("step", range(1, 4))
    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
    def test_interruption_leaves_the_old_or_the_new_bundle(
        self, bundle: Path, monkeypatch: pytest.MonkeyPatch, step: int, error: type[BaseException]
    ) -> None:
        """Interrupted before each renaming step: mkdir, moving the old bundle away, moving the new one in."""
        old = load_bundle(bundle)
        calls = 0
        rename, mkdir = Path.rename, Path.mkdir

        def count() -> None:
            nonlocal calls
            calls += 1
            if calls == step:
                raise error

        def counted_mkdir(path: Path, *args: Any, **options: Any) -> None:
            if path.suffix == ".tmp":
                count()
            mkdir(path, *args, **options)

        def counted_rename(path: Path, target: Path) -> Path:
            if path.suffix != ".old":
                count()
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", counted_rename)
        monkeypatch.setattr(Path, "mkdir", counted_mkdir)
        with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else OutputWriteError):
            save_bundle(bundle, **{**parts(old), "card": "new"}, overwrite=True)
        monkeypatch.undo()
        assert load_bundle(bundle).digest == old.digest
        assert [path.name for path in bundle.parent.iterdir()] == ["tiny"]

    @pytest.mark.slow
    def test_killed_process_leaves_a_valid_bundle(self, bundle: Path, tmp_path: Path) -> None:
        """A process that saves repeatedly is killed at some moment: the bundle still loads."""
        program = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "train")!r}]
from sentstream.bundle import load_bundle, save_bundle
b = load_bundle({str(bundle)!r})
print("ready", flush=True)
for turn in range(10**6):
    save_bundle({str(tmp_path / "target")!r}, model=b.model, vocabulary=b.text.vocabulary,
                config=b.config, card=f"# {{turn}}", overwrite=True)
"""
        for wait in (0.03, 0.11):
            with child([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                wait_until((tmp_path / "target").exists)
                time.sleep(wait)
                process.kill()
            whole = [path for path in tmp_path.iterdir() if path.name == "target" or path.suffix == ".old"]
            assert any(load_bundle(path).name == "tiny" for path in whole)
            for path in tmp_path.glob(".target.*"):
                shutil.rmtree(path)
            shutil.rmtree(tmp_path / "target", ignore_errors=True)

    @pytest.mark.slow
    def test_concurrent_saves_do_not_mix(self, bundle: Path, tmp_path: Path) -> None:
        loaded = load_bundle(bundle)
        program = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "train")!r}]
from sentstream.bundle import load_bundle, save_bundle
from sentstream.errors import OutputError
b = load_bundle({str(bundle)!r})
for turn in range(20):
    try:
        save_bundle({str(tmp_path / "target")!r}, model=b.model, vocabulary=b.text.vocabulary,
                    config=b.config, card=f"# {{sys.argv[1]}} {{turn}}", overwrite=True)
    except OutputError:
        pass
"""
        with ExitStack() as running:
            command = [sys.executable, "-c", program]
            processes = [running.enter_context(child([*command, str(number)])) for number in range(3)]
            assert [process.wait(PATIENCE) for process in processes] == [0, 0, 0]
        assert load_bundle(tmp_path / "target").model == loaded.model
        assert not list(tmp_path.glob(".target.*.tmp"))
