"""A day's tweets as tasks of a scheduler: score, check, report. Each can be rerun at any time.

    python examples/scheduled_job.py FOLDER 2026-09-01

``FOLDER/tweets/day=2026-09-01`` is scored into ``FOLDER/scored/day=2026-09-01``, compared with its manifest,
and reported in ``FOLDER/reports/2026-09-01.html``. A task that was killed resumes where it stopped, one that
is rerun finds its work done, and files that arrived late are scored, too. The functions take and return
plain values, as schedulers require. In Airflow:

    score = task(retries=3)(scheduled_job.score)
    check = task()(scheduled_job.check)
    report = task()(scheduled_job.report)
    score(folder, "{{ ds }}") >> check(folder, "{{ ds }}") >> report(folder, "{{ ds }}")

In Dagster, call the same functions in assets with a daily partition, whose key is the day.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import sentstream
from sentstream.analyze import analyze
from sentstream.dataset.verify import verify
from sentstream.report.page import write_page
from sentstream.report.sentiment.page import sentiment_page

SAMPLE = 100  # rows that are scored again and compared bit by bit


def score(folder: str, day: str) -> dict[str, Any]:
    """Score a day; what an earlier attempt finished is kept."""
    root = Path(folder)
    done = sentstream.score_files(
        root / "tweets" / f"day={day}", f"{root / 'scored' / f'day={day}'}/", resume=True
    )
    return {"rows": done.tally.rows, "done before": done.before.rows, "labels": done.tally.labels}


def check(folder: str, day: str) -> dict[str, Any]:
    """Compare the outputs of a day with their manifest.

    Raises:
        RuntimeError: They differ.
    """
    root = Path(folder)
    verification = verify(
        f"{root / 'scored' / f'day={day}'}/", inputs=[str(root / "tweets" / f"day={day}")], sample=SAMPLE
    )
    if verification.findings:
        raise RuntimeError("; ".join(f"{one.name}: {one.problem}" for one in verification.findings))
    return {"outputs": verification.outputs, "rows": verification.rows}


def report(folder: str, day: str) -> str:
    """Write a day's page, replacing an earlier one, and return its path."""
    root = Path(folder)
    page = root / "reports" / f"{day}.html"
    analysis = analyze(root / "scored" / f"day={day}", time_column="created_at", by=["lang"])
    write_page(page, sentiment_page(analysis.to_dict()), overwrite=True)
    return str(page)


def main() -> None:
    """Run the tasks of a day, one after the other."""
    parser = argparse.ArgumentParser(
        description="Score, check and report one day. It can be rerun at any time."
    )
    parser.add_argument("folder")
    parser.add_argument("day", help="the day, as in the folder names: 2026-09-01")
    args = parser.parse_args()
    for task in (score, check, report):
        print(f"{task.__name__}: {task(args.folder, args.day)}")


if __name__ == "__main__":
    main()
