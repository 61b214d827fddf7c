"""Files in the format of ``java.util.Properties``, with which Kafka's own clients are configured."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from sentstream.errors import ClientConfigError

_WHITE = " \t\f"
_LINE_END = re.compile(r"\r\n|\r|\n")
_KEY = re.compile(r"(?:[^\\=: \t\f]|\\.)*", re.DOTALL)
_SEPARATOR = re.compile(r"[ \t\f]*[=:]?[ \t\f]*")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.|$)", re.DOTALL)
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


class Property(NamedTuple):
    """A property and the line (from 1) that it begins on."""

    name: str
    value: str
    line: int


def read_properties(file: Path) -> list[Property]:
    """Return the properties of a file, in order; it is read as UTF-8, or Latin-1 if that is invalid.

    Raises:
        ClientConfigError: The file cannot be read, or is malformed.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ClientConfigError(f"{file} cannot be read: {error.strerror or error}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return parse_properties(text, str(file))


def parse_properties(text: str, name: str = "properties") -> list[Property]:
    r"""Return the properties in a text, in order; errors name its source by ``name``.

    Raises:
        ClientConfigError: An escape is malformed, or only half of a surrogate pair.

    >>> parse_properties("# ours\nacks : all\nclient.id=a\\\n    b")
    [Property(name='acks', value='all', line=2), Property(name='client.id', value='ab', line=3)]
    """
    found = []
    lines = iter(enumerate(_LINE_END.split(text), 1))
    for number, line in lines:
        logical = line.lstrip(_WHITE)
        while _is_continued(logical):
            _, following = next(lines, (0, ""))
            logical = logical[:-1] + following.lstrip(_WHITE)
        if not logical or logical[0] in "#!":
            continue
        key = _KEY.match(logical)
        assert key is not None
        separator = _SEPARATOR.match(logical, key.end())
        assert separator is not None
        where = f"{name} line {number}"
        value = logical[separator.end() :]
        found.append(Property(_unescape(key[0], where), _unescape(value, where), number))
    return found


def _is_continued(line: str) -> bool:
    """Return whether the line ends with an unescaped backslash and is not a comment."""
    return not line.startswith(("#", "!")) and (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _unescape(text: str, where: str) -> str:
    def character(escape: re.Match[str]) -> str:
        code = escape[1]
        if len(code) == 5:
            return chr(int(code[1:], 16))
        if code == "u":
            raise ClientConfigError(
                f"{where}: \\u is not followed by four hexadecimal digits",
                hint=r"write a backslash as \\",
            )
        return _CONTROLS.get(code, code)

    plain = _ESCAPE.sub(character, text)
    try:  # two escapes may be a surrogate pair
        return plain.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ClientConfigError(
            f"{where}: only half of a surrogate pair", hint=r"write both \u escapes"
        ) from None
