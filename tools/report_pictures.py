"""Take the README's pictures of a report on the example tweets: light on a desktop, dark on a phone.

python tools/report_pictures.py docs
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sentstream.analyze import analyze  # noqa: E402
from sentstream.dataset.preparation import score_files  # noqa: E402
from sentstream.report.sentiment.page import sentiment_page  # noqa: E402
from tools.local_browser import open_browser  # noqa: E402


def main() -> None:
    """Take the pictures."""
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        scored, page = Path(folder, "scored.parquet"), Path(folder, "report.html")
        score_files(ROOT / "examples" / "tweets.parquet", scored)
        analysis = analyze(scored, time_column="created_at", by=["lang"])
        page.write_text(sentiment_page(analysis.to_dict()), "utf-8")
        with browser.page(page, "desktop", "light") as opened:
            opened.screenshot(path=str(target / "report-desktop.png"))
        with browser.page(page, "phone", "dark") as opened:
            opened.evaluate("document.querySelector('section').scrollIntoView()")
            opened.screenshot(path=str(target / "report-phone.png"))


if __name__ == "__main__":
    main()
