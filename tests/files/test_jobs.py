"""Which file is read, which one is written, and what is refused before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentstream.errors import InputError, InputNotFoundError, OutputExistsError, OutputWriteError, UsageError
from sentstream.files.jobs import find_jobs


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of files, of which five are Parquet to be scored."""
    monkeypatch.chdir(tmp_path)
    table = pa.table({"text": ["hi"]})
    for name in (
        "one.parquet",
        "in/a.parquet",
        "in/b.PARQUET",
        "in/deep/er/a.parquet",
        "in/day=1/a.parquet",
        "in/a.scored.parquet",
        "in/.hidden.parquet",
        "in/_metadata.parquet",
        "in/_temporary/a.parquet",
        "in/.git/a.parquet",
        "in/notes.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
    return tmp_path


def pairs(folder: Path, *inputs: str, output: str | None = None, overwrite: bool = False) -> dict[str, str]:
    with find_jobs(inputs, output, overwrite=overwrite) as jobs:
        return {
            job.source.resolve().relative_to(folder).as_posix(): "-"
            if job.target is None
            else job.target.relative_to(folder).as_posix()
            for job in jobs
        }


WALKED = ["in/a.parquet", "in/b.PARQUET", "in/day=1/a.parquet", "in/deep/er/a.parquet"]


class TestDefaults:
    def test_a_file(self, folder: Path) -> None:
        assert pairs(folder, "one.parquet") == {"one.parquet": "one.scored.parquet"}

    @pytest.mark.parametrize(
        ("name", "scored"),
        [("x.pq", "x.scored.parquet"), ("x", "x.scored.parquet"), ("x.v1.2", "x.v1.2.scored.parquet")],
    )
    def test_other_names(self, folder: Path, name: str, scored: str) -> None:
        (folder / "one.parquet").rename(name)
        assert pairs(folder, name) == {name: scored}

    def test_a_directory_keeps_relative_names(self, folder: Path) -> None:
        expected = {name: name.replace("in/", "in.scored/", 1) for name in WALKED}
        assert pairs(folder, "in") == pairs(folder, "in/") == expected

    def test_the_directory_one_is_in(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir("in")
        assert set(pairs(folder, ".").values()) == {name.replace("in/", "in.scored/", 1) for name in WALKED}

    def test_a_glob_goes_beside_each(self, folder: Path) -> None:
        (folder / "in/a.scored.parquet").unlink()
        assert pairs(folder, "in/*.parquet") == {
            "in/a.parquet": "in/a.scored.parquet",
            "in/_metadata.parquet": "in/_metadata.scored.parquet",
        }

    def test_a_glob_leaves_out_what_was_scored_unless_it_asks_for_it(self, folder: Path) -> None:
        assert list(pairs(folder, "in/a*.parquet", output="out/")) == ["in/a.parquet"]
        assert list(pairs(folder, "in/a.scored.p*", output="out/")) == ["in/a.scored.parquet"]

    def test_a_glob_goes_deep(self, folder: Path) -> None:
        assert pairs(folder, "in/**/a.parquet", output="out") == {
            "in/a.parquet": "out/a.parquet",
            "in/day=1/a.parquet": "out/day=1/a.parquet",
            "in/deep/er/a.parquet": "out/deep/er/a.parquet",
            "in/_temporary/a.parquet": "out/_temporary/a.parquet",
        }

    def test_a_glob_of_directories(self, folder: Path) -> None:
        assert pairs(folder, "in/d*", output="out/") == {
            "in/day=1/a.parquet": "out/day=1/a.parquet",
            "in/deep/er/a.parquet": "out/deep/er/a.parquet",
        }

    def test_a_name_with_glob_characters(self, folder: Path) -> None:
        (folder / "one.parquet").rename("one[1].parquet")
        assert pairs(folder, "one[1].parquet") == {"one[1].parquet": "one[1].scored.parquet"}


class TestOutput:
    def test_a_file(self, folder: Path) -> None:
        assert pairs(folder, "one.parquet", output="new/x.parquet") == {"one.parquet": "new/x.parquet"}

    def test_a_directory_that_ends_with_a_slash_or_is_there(self, folder: Path) -> None:
        assert pairs(folder, "one.parquet", output="new/") == {"one.parquet": "new/one.parquet"}
        (folder / "there").mkdir()
        assert pairs(folder, "one.parquet", output="there") == {"one.parquet": "there/one.parquet"}

    def test_several_inputs(self, folder: Path) -> None:
        expected = {"one.parquet": "new/one.parquet", "in/a.parquet": "new/a.parquet"}
        assert pairs(folder, "one.parquet", "in/a.parquet", output="new") == expected

    def test_an_output_directory_inside_of_the_input_is_not_read(self, folder: Path) -> None:
        (folder / "in" / "out").mkdir()
        (folder / "one.parquet").rename("in/out/one.parquet")
        assert list(pairs(folder, "in", output="in/out")) == WALKED

    def test_standard_output(self, folder: Path) -> None:
        assert pairs(folder, "one.parquet", output="-") == {"one.parquet": "-"}

    def test_a_link_is_written_through(self, folder: Path) -> None:
        (folder / "link.parquet").symlink_to("real.parquet")
        assert pairs(folder, "one.parquet", output="link.parquet", overwrite=True) == {
            "one.parquet": "real.parquet"
        }


class TestRefused:
    @pytest.mark.parametrize(
        "given", ["nope.parquet", "nope/*.parquet", "in/*.csv", "in/.git/../_temporary/../deep"]
    )
    def test_nothing_there(self, folder: Path, given: str) -> None:
        if given.endswith("deep"):
            (folder / "in/deep/er/a.parquet").unlink()
        with pytest.raises(InputNotFoundError):
            pairs(folder, given)

    def test_a_name_that_no_system_takes(self, folder: Path) -> None:
        with pytest.raises(InputError, match="cannot be read"):
            pairs(folder, "x" * 5000)
        with pytest.raises(OutputWriteError, match="cannot be written"):
            pairs(folder, "one.parquet", output="x" * 5000)

    def test_the_output_is_the_input(self, folder: Path) -> None:
        with pytest.raises(OutputExistsError, match="is an input"):
            pairs(folder, "one.parquet", output="one.parquet", overwrite=True)
        with pytest.raises(OutputExistsError, match="is an input"):
            pairs(folder, "one.parquet", output="./", overwrite=True)

    @pytest.mark.parametrize("link", [os.symlink, os.link])
    def test_the_output_is_the_input_by_another_name(self, folder: Path, link: object) -> None:
        link("one.parquet", "other.parquet")  # type: ignore[operator]
        with pytest.raises(OutputExistsError, match="is an input"):
            pairs(folder, "one.parquet", output="other.parquet", overwrite=True)
        with pytest.raises(OutputExistsError, match="is an input"):
            pairs(folder, "other.parquet", output="one.parquet", overwrite=True)

    def test_the_output_of_one_is_the_input_of_another(self, folder: Path) -> None:
        (folder / "one.scored.parquet").write_bytes(b"")
        with pytest.raises(OutputExistsError, match="is an input"):
            pairs(folder, "one.parquet", "one.scored.parquet", overwrite=True)

    def test_two_inputs_with_one_output(self, folder: Path) -> None:
        with pytest.raises(OutputExistsError, match="same output"):
            pairs(folder, "in/a.parquet", "in/deep/er/a.parquet", output="new/")
        with pytest.raises(OutputExistsError, match="same output"):
            pairs(folder, "one.parquet", "one.parquet")

    def test_several_inputs_into_a_file(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="2 inputs for one output"):
            pairs(folder, "one.parquet", "in/a.parquet", output="new.parquet")
        with pytest.raises(UsageError, match="4 inputs for one output"):
            pairs(folder, "in", output="-")

    def test_there_already(self, folder: Path) -> None:
        (folder / "one.scored.parquet").write_bytes(b"")
        with pytest.raises(OutputExistsError, match="is there already"):
            pairs(folder, "one.parquet")
        assert pairs(folder, "one.parquet", overwrite=True) == {"one.parquet": "one.scored.parquet"}

    def test_a_directory_that_cannot_be(self, folder: Path) -> None:
        with pytest.raises(OutputWriteError, match="not a directory"):
            pairs(folder, "one.parquet", output="in/notes.txt/x.parquet")

    def test_standard_input_stands_alone(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="stands alone"):
            pairs(folder, "-", "one.parquet")
