"""Read the parts of a model card that ``models show`` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_LICENSE = re.compile(r"^license:\s*(.+)$", re.MULTILINE | re.IGNORECASE)


def introduction(card: str) -> str:
    """The first paragraph below the title, or an empty string.

    >>> introduction("---\\nx: y\\n---\\n# tiny\\n\\nLabels [texts](x.html),\\nall.\\n\\n## Limits\\n")
    'Labels texts, all.'
    """
    return next((block for title, block in _blocks(card) if not title.startswith("## ")), "")


def section(card: str, *titles: str) -> list[str]:
    """The paragraphs and list items below the headings ``## TITLE``, without tables and their lead-ins.

    >>> section("# tiny\\n## Limits\\n- one\\n  and a half\\n- two\\n\\n| a |\\n## More\\nx", "Limits")
    ['- one and a half', '- two']
    """
    wanted = {f"## {title.lower()}" for title in titles}
    return [block for title, block in _blocks(card) if title.lower() in wanted and not block.endswith(":")]


def license_name(card: str) -> str | None:
    """The ``license`` in the card's metadata (YAML front matter), if any."""
    match = _LICENSE.search(_split(card)[0])
    return match[1].strip() if match else None


def _split(card: str) -> tuple[str, str]:
    """Front matter and body."""
    match = re.match(r"---\n(.*?)^---$\n?", card, re.DOTALL | re.MULTILINE)
    return (match[1], card[match.end() :]) if match else ("", card)


def _blocks(card: str) -> Iterator[tuple[str, str]]:
    """Every paragraph and list item as one line, with its heading."""
    title, block, fenced = "", "", False
    for line in [*_split(card)[1].splitlines(), ""]:
        words = " ".join(_LINK.sub(r"\1", line).split())
        fence, heading = words.startswith("```"), words.startswith("#") and not fenced
        plain = bool(words) and not (fenced or fence or heading or words.startswith("|"))
        if block and (not plain or words.startswith("- ")):
            yield title, block
            block = ""
        if plain:
            block = f"{block} {words}".strip()
        if heading:
            title = words
        fenced ^= fence
