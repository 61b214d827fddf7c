"""Which files are read and written, and what is rejected before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentstream.dataset.jobs import find_jobs
from sentstream.errors import InputError, InputNotFoundError, OutputExistsError, OutputWriteError, UsageError


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
            Path(job.name).resolve().relative_to(folder).as_posix(): "-"
            if job.target is None
            else job.target.relative_to(folder).as_posix()
            for job in jobs
        }


WALKED = ["in/a.parquet", "in/b.PARQUET", "in/day=1/a.parquet", "in/deep/er/a.parquet"]


class TestDefaults:
    def test_file(self, folder: Path) -> None:
        assert pairs(folder, "one.parquet") == {"one.parquet": "one.scored.parquet"}

    @pytest.mark.parametrize(
        ("name", "scored"),
        [("x.pq", "x.scored.parquet"), ("x", "x.scored.parquet"), ("x.v1.2", "x.v1.2.scored.parquet")],
    )
    def test_other_suffixes(self, folder: Path, name: str, scored: str) -> None:
        (folder / "one.parquet").rename(name)
        assert pairs(folder, name) == {name: scored}

    def test_file_uri(self, folder: Path) -> None:
        given = (folder / "one.parquet").as_uri()
        assert pairs(folder, given) == {"one.parquet": "one.scored.parquet"}
        assert pairs(folder, given, output=folder.as_uri() + "/new/") == {"one.parquet": "new/one.parquet"}

    def test_directory_keeps_relative_names(self, folder: Path) -> None:
        expected = {name: name.replace("in/", "in.scored/", 1) for name in WALKED}
        assert pairs(folder, "in") == pairs(folder, "in/") == expected

    def test_current_directory(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir("in")
        assert set(pairs(folder, ".").values()) == {name.replace("in/", "in.scored/", 1) for name in WALKED}

    def test_glob_outputs_are_next_to_inputs(self, folder: Path) -> None:
        (folder / "in/a.scored.parquet").unlink()
        assert pairs(folder, "in/*.parquet") == {
            "in/a.parquet": "in/a.scored.parquet",
            "in/_metadata.parquet": "in/_metadata.scored.parquet",
        }

    def test_glob_skips_scored_files_unless_named(self, folder: Path) -> None:
        assert list(pairs(folder, "in/a*.parquet", output="out/")) == ["in/a.parquet"]
        assert list(pairs(folder, "in/a.scored.p*", output="out/")) == ["in/a.scored.parquet"]

    def test_recursive_glob(self, folder: Path) -> None:
        assert pairs(folder, "in/**/a.parquet", output="out") == {
            "in/a.parquet": "out/a.parquet",
            "in/day=1/a.parquet": "out/day=1/a.parquet",
            "in/deep/er/a.parquet": "out/deep/er/a.parquet",
            "in/_temporary/a.parquet": "out/_temporary/a.parquet",
        }

    def test_glob_of_directories(self, folder: Path) -> None:
        assert pairs(folder, "in/d*", output="out/") == {
            "in/day=1/a.parquet": "out/day=1/a.parquet",
            "in/deep/er/a.parquet": "out/deep/er/a.parquet",
        }

    def test_name_with_glob_characters(self, folder: Path) -> None:
        (folder / "one.parquet").rename("one[1].parquet")
        assert pairs(folder, "one[1].parquet") == {"one[1].parquet": "one[1].scored.parquet"}


class TestDirectories:
    """What is recognized as Parquet, and how the rest is reported."""

    def test_suffixes(self, folder: Path) -> None:
        more = ["in/b.pq", "in/c.PARQ", "in/day=1/000000_0", "in/part-00000-x.snappy.parquet"]
        for name in [*more, "in/_SUCCESS", "in/_common_metadata", "in/.part-0.crc", "in/a.scored.pq"]:
            (folder / name).hardlink_to("one.parquet")
        (folder / "in" / "empty").touch()
        (folder / "in" / "README").write_text("PARTS")
        (folder / "in" / "there").symlink_to("deep", target_is_directory=True)
        lines: list[str] = []
        with find_jobs(["in"], "new/", overwrite=False, warn=lines.append) as jobs:
            names = [Path(job.name).as_posix() for job in jobs]
        assert sorted(names) == sorted([*WALKED, *more])
        assert lines == [
            f"in: files skipped for lack of a known suffix: there{os.sep}, a link, README, empty, notes.txt"
        ]

    def test_many_skipped_files(self, folder: Path) -> None:
        for index in range(9):
            (folder / "in" / "deep" / f"{index}.txt").touch()
        lines: list[str] = []
        with find_jobs(["in/d*"], "new/", overwrite=False, warn=lines.append):
            pass
        (line,) = lines
        assert line.startswith(f"in{os.sep}deep: files skipped for lack of a known suffix: ")
        assert line.endswith(": 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 4 more")

    def test_empty_directory(self, folder: Path) -> None:
        (folder / "new").mkdir()
        (folder / "new" / "a.txt").touch()
        message = (
            r"no files to read in new, but a\.txt \(in a directory, names must end in \.parquet, \.csv, "
        )
        with pytest.raises(InputNotFoundError, match=message):
            pairs(folder, "new")


class TestOutput:
    @pytest.mark.parametrize("given", [["h/en/p.parquet", "h/de/p.parquet"], ["h/en", "h/de"]])
    def test_inputs_of_the_same_name_keep_their_directories(self, folder: Path, given: list[str]) -> None:
        for name in ("h/en", "h/de"):
            (folder / name).mkdir(parents=True)
            (folder / name / "p.parquet").hardlink_to("one.parquet")
        expected = {"h/en/p.parquet": "new/en/p.parquet", "h/de/p.parquet": "new/de/p.parquet"}
        assert pairs(folder, *given, output="new/") == expected

    def test_file(self, folder: Path) -> None:
        assert pairs(folder, "one.parquet", output="new/x.parquet") == {"one.parquet": "new/x.parquet"}

    def test_directory_with_slash_or_existing(self, folder: Path) -> None:
        assert pairs(folder, "one.parquet", output="new/") == {"one.parquet": "new/one.parquet"}
        (folder / "there").mkdir()
        assert pairs(folder, "one.parquet", output="there") == {"one.parquet": "there/one.parquet"}

    def test_several_inputs(self, folder: Path) -> None:
        expected = {"one.parquet": "new/one.parquet", "in/a.parquet": "new/a.parquet"}
        assert pairs(folder, "one.parquet", "in/a.parquet", output="new") == expected

    @pytest.mark.parametrize("given", ["in/deep/er", "in/deep/er/", "in/deep/er/*.parquet"])
    def test_directory_or_glob_of_one_file_gets_a_directory(self, folder: Path, given: str) -> None:
        """The arguments decide, not how many files there are today."""
        for output in ("new", "new/"):
            assert pairs(folder, given, output=output) == {"in/deep/er/a.parquet": "new/a.parquet"}
        assert pairs(folder, given, output="new.parquet") == {"in/deep/er/a.parquet": "new.parquet"}
        assert pairs(folder, given, output="-") == {"in/deep/er/a.parquet": "-"}

    def test_list_of_one_file_gets_a_directory(self, folder: Path) -> None:
        for output, target in (("new", "new/one.parquet"), ("new.parquet", "new.parquet")):
            with find_jobs(["one.parquet"], output, overwrite=False, from_list=True) as jobs:
                assert jobs[0].target == folder / target

    def test_file_in_place_of_the_output_directory(self, folder: Path) -> None:
        (folder / "new").write_bytes(b"")
        with pytest.raises(OutputExistsError, match="new is a file, but the outputs of a directory"):
            pairs(folder, "in/deep/er", output="new", overwrite=True)
        with find_jobs(["in/deep/er"], "new", overwrite=True, is_file=lambda output: True) as jobs:
            assert (jobs.directory, jobs[0].target) == (None, folder / "new")

    def test_output_directory_inside_the_input_is_not_read(self, folder: Path) -> None:
        (folder / "in" / "out").mkdir()
        (folder / "one.parquet").rename("in/out/one.parquet")
        assert list(pairs(folder, "in", output="in/out")) == WALKED

    def test_standard_output(self, folder: Path) -> None:
        assert pairs(folder, "one.parquet", output="-") == {"one.parquet": "-"}

    def test_link_is_followed_when_writing(self, folder: Path) -> None:
        (folder / "link.parquet").symlink_to("real.parquet")
        assert pairs(folder, "one.parquet", output="link.parquet", overwrite=True) == {
            "one.parquet": "real.parquet"
        }


class TestRejected:
    @pytest.mark.parametrize(
        "given", ["nope.parquet", "nope/*.parquet", "in/*.csv", "in/.git/../_temporary/../deep"]
    )
    def test_missing_input(self, folder: Path, given: str) -> None:
        if given.endswith("deep"):
            (folder / "in/deep/er/a.parquet").unlink()
        with pytest.raises(InputNotFoundError):
            pairs(folder, given)

    def test_invalid_file_name(self, folder: Path) -> None:
        with pytest.raises(InputError, match="cannot be read"):
            pairs(folder, "x" * 5000)
        with pytest.raises(OutputWriteError, match="cannot be written"):
            pairs(folder, "one.parquet", output="x" * 5000)

    def test_output_is_the_input(self, folder: Path) -> None:
        with pytest.raises(OutputExistsError, match="is an input"):
            pairs(folder, "one.parquet", output="one.parquet", overwrite=True)
        with pytest.raises(OutputExistsError, match="is an input"):
            pairs(folder, "one.parquet", output="./", overwrite=True)

    @pytest.mark.parametrize("link", [os.symlink, os.link])
    def test_output_is_the_input_under_another_name(self, folder: Path, link: object) -> None:
        link("one.parquet", "other.parquet")  # type: ignore[operator]
        with pytest.raises(OutputExistsError, match="is an input"):
            pairs(folder, "one.parquet", output="other.parquet", overwrite=True)
        with pytest.raises(OutputExistsError, match="is an input"):
            pairs(folder, "other.parquet", output="one.parquet", overwrite=True)

    def test_output_is_another_input(self, folder: Path) -> None:
        (folder / "one.scored.parquet").write_bytes(b"")
        with pytest.raises(OutputExistsError, match="is an input"):
            pairs(folder, "one.parquet", "one.scored.parquet", overwrite=True)

    def test_two_inputs_with_the_same_output(self, folder: Path) -> None:
        (folder / "one.parquet").rename("one.pq")
        (folder / "one").hardlink_to("one.pq")
        with pytest.raises(OutputExistsError, match=r"same output.*give --output DIRECTORY/"):
            pairs(folder, "one.pq", "one")
        assert pairs(folder, "one.pq", "one", output="new/") == {"one.pq": "new/one.pq", "one": "new/one"}

    @pytest.mark.parametrize("again", ["in/a.parquet", "./in/../in/a.parquet", "in/a*.parquet", "in"])
    @pytest.mark.parametrize("output", [None, "new/"])
    def test_duplicate_input(self, folder: Path, again: str, output: str | None) -> None:
        with pytest.raises(UsageError, match=r"a\.parquet is given twice \(name it once\)"):
            pairs(folder, "in/a.parquet", again, output=output)

    def test_dangling_link_is_an_input_error(self, folder: Path) -> None:
        (folder / "in" / "lost.parquet").symlink_to("nowhere")
        for given in ("in/lost.parquet", "in/l*.parquet", "in"):
            with pytest.raises(InputNotFoundError, match=r"lost\.parquet is a link to nowhere.*remove it"):
                pairs(folder, given, output="new/")
        (folder / "in" / "lost.parquet").unlink()
        (folder / "in" / "round.parquet").symlink_to("round.parquet")
        with pytest.raises(InputNotFoundError, match=r"round\.parquet is a link to"):
            pairs(folder, "in", output="new/")

    def test_unknown_uri_scheme(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="unknown scheme ghost"):
            pairs(folder, "ghost://bucket/a.parquet")
        with pytest.raises(UsageError, match="unknown scheme ghost"):
            pairs(folder, "one.parquet", output="ghost://bucket/")
        assert not (folder / "ghost:").exists()

    def test_several_inputs_to_one_file(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="2 inputs for one output"):
            pairs(folder, "one.parquet", "in/a.parquet", output="new.parquet")
        with pytest.raises(UsageError, match="4 inputs for one output"):
            pairs(folder, "in", output="-")

    def test_existing_output(self, folder: Path) -> None:
        (folder / "one.scored.parquet").write_bytes(b"")
        with pytest.raises(OutputExistsError, match="already exists"):
            pairs(folder, "one.parquet")
        assert pairs(folder, "one.parquet", overwrite=True) == {"one.parquet": "one.scored.parquet"}

    def test_impossible_directory(self, folder: Path) -> None:
        with pytest.raises(OutputWriteError, match="not a directory"):
            pairs(folder, "one.parquet", output="in/notes.txt/x.parquet")

    def test_impossible_directory_after_possible_ones(self, folder: Path) -> None:
        (folder / "new").mkdir()
        (folder / "new/day=1").write_bytes(b"")
        with pytest.raises(OutputWriteError, match=r"day=1 is not a directory"):
            pairs(folder, "in", output="new/")

    def test_directory_with_the_name_of_an_output(self, folder: Path) -> None:
        (folder / "new/b.PARQUET").mkdir(parents=True)
        (folder / "new/a.parquet").write_bytes(b"")
        with pytest.raises(OutputExistsError, match=r"b\.PARQUET is a directory"):
            pairs(folder, "in", output="new/", overwrite=True)

    def test_standard_input_cannot_be_combined(self, folder: Path) -> None:
        with pytest.raises(UsageError, match="give - alone"):
            pairs(folder, "-", "one.parquet")


class TestJobs:
    """What a manifest needs: relative names, and the directory of all outputs."""

    def test_existing_outputs_and_links_among_them(self, folder: Path) -> None:
        """Directories are resolved once each, but a link at the name of an output is still followed."""
        (folder / "real").mkdir()
        (folder / "new").symlink_to("real", target_is_directory=True)
        (folder / "real/a.parquet").write_bytes(b"")
        (folder / "real/b.PARQUET").symlink_to("elsewhere.parquet")
        assert pairs(folder, "in", output="new/", overwrite=True) == {
            "in/a.parquet": "real/a.parquet",
            "in/b.PARQUET": "real/elsewhere.parquet",
            "in/day=1/a.parquet": "real/day=1/a.parquet",
            "in/deep/er/a.parquet": "real/deep/er/a.parquet",
        }

    def test_resumable_if_all_outputs_are_files(self, folder: Path) -> None:
        os.mkfifo(folder / "pipe")
        for output, expected in (("new/", True), (None, True), ("pipe", False), ("-", False)):
            with find_jobs(["one.parquet"], output, overwrite=True) as jobs:
                assert jobs.can_resume == expected

    def test_directory_has_an_output_directory(self, folder: Path) -> None:
        below = [name.removeprefix("in/") for name in WALKED]
        for output, directory in ((None, "in.scored"), ("new", "new"), ("new/", "new")):
            with find_jobs(["in"], output, overwrite=False) as jobs:
                assert [job.relative for job in jobs] == below
                assert jobs.directory == str(folder / directory)
                assert [job.output for job in jobs] == [
                    jobs.storage.join(jobs.directory, one) for one in below
                ]

    @pytest.mark.parametrize("output", [None, "new.parquet", "-"])
    def test_single_file_has_no_output_directory(self, folder: Path, output: str | None) -> None:
        with find_jobs(["one.parquet"], output, overwrite=False) as jobs:
            assert (jobs.directory, jobs[0].relative) == (None, "one.parquet")

    def test_single_file_into_a_directory(self, folder: Path) -> None:
        with find_jobs(["one.parquet"], "new/", overwrite=False) as jobs:
            assert jobs.directory == str(folder / "new")
