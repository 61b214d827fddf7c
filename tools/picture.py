"""Draw the picture of the README: the default model's probabilities after each word of a tweet.

python tools/picture.py docs/after-each-word.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import sentstream  # noqa: E402
from sentstream.report.axes import WIDTH  # noqa: E402
from sentstream.report.charts import prefix_curve  # noqa: E402

TWEET = "the service was not good, but I love the food"


def picture() -> str:
    """Return a self-contained SVG image, with the style sheet of the report pages."""
    model = sentstream.load(provider="cpu")
    (explanation,) = sentstream.explain(model, TWEET)
    chart = str(prefix_curve(model.labels, explanation.to_dict()["steps"]))
    style = (ROOT / "sentstream" / "report" / "page.css").read_text("utf-8")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}"'
    return chart.replace("<svg", head, 1).replace("<title>", f"<style>{style}</style><title>", 1) + "\n"


def main() -> None:
    (target,) = sys.argv[1:]
    Path(target).write_text(picture(), "utf-8")


if __name__ == "__main__":
    main()
