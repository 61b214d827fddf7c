"""Texts -> tokens as in Keras' own preprocessing: cut at separators, or at each character.

As in ``scan``, every pass works on the bytes of the whole column, in linear time.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.text.clean import buffers_of
from sentstream.text.rules import TextRules
from sentstream.text.scan import Tokens

_WORD, _GAP, _GONE = range(3)
#: A byte that never occurs in UTF-8; replaces non-ASCII separators.
_NO_TEXT = 0xFF
#: The only letters that Python does not lowercase to one code point regardless of context
#: (Unicode's SpecialCasing.txt: U+0130, and the final sigma).
_ODD_CAPITALS = ("İ", "Σ")


def cut(column: pa.StringArray, rules: TextRules) -> Tokens:
    """Cut valid text of limited length into tokens.

    Args:
        column: ``string`` without nulls (see ``clean``).
        rules: Rules with the tokenizer ``split`` or ``characters``.
    """
    trimmed = pc.binary_length(pc.utf8_trim_whitespace(column))
    blank = pc.equal(trimmed, 0).to_numpy(zero_copy_only=False).astype(np.bool_, copy=False)
    if rules.lowercase:
        column = lower(column, rules.case)
    table = np.full(256, _WORD, np.uint8)
    for letter in rules.deleted:
        if letter.isascii():
            table[ord(letter)] = _GONE
        else:
            column = pc.replace_substring(column, letter, "")
    others = [letter for letter in rules.separators if not letter.isascii()]
    table[[ord(letter) for letter in rules.separators if letter.isascii()] + [_NO_TEXT]] = _GAP
    if others:
        raw = column.cast(pa.binary())
        for letter in others:
            raw = pc.replace_substring(raw, letter.encode(), bytes([_NO_TEXT]))
        source, offsets = buffers_of(raw)
    else:
        source, offsets = buffers_of(column)
    classes = np.frombuffer(bytearray(source).translate(table.tobytes()), np.uint8)
    if rules.deleted:
        stays = classes != _GONE
        before = np.concatenate((np.zeros(1, np.int64), np.cumsum(stays)))
        source, classes, offsets = np.compress(stays, source), np.compress(stays, classes), before[offsets]
    solid = classes == _WORD
    for row in (blank & (offsets[1:] > offsets[:-1])).nonzero()[0]:
        solid[offsets[row] : offsets[row + 1]] = False
    if rules.tokenizer == "characters":
        begins = solid & ((source & 0xC0) != 0x80)
    else:
        begins = solid.copy()
        begins[1:] &= ~solid[:-1]
        firsts = offsets[:-1][offsets[:-1] < len(solid)]
        begins[firsts] = solid[firsts]
    starts = begins.nonzero()[0]
    ends = np.cumsum(solid, dtype=np.int32)
    bounds = np.append(ends[starts] - 1, ends[-1:] if len(ends) else 0).astype(np.int32)
    kept = np.compress(solid, source)
    text = pa.StringArray.from_buffers(len(starts), pa.py_buffer(bounds), pa.py_buffer(kept))
    return Tokens(text, np.searchsorted(starts, offsets).astype(np.int64), blank)


def lower(column: pa.StringArray, case: str) -> pa.StringArray:
    """Lowercase a column according to the rule ``case``."""
    if case == "ascii":
        return pc.ascii_lower(column)
    lowered = pc.utf8_lower(column)
    if case == "full":
        odd = pc.or_(*(pc.match_substring(column, letter) for letter in _ODD_CAPITALS))
        if pc.any(odd).as_py():
            texts = [text.lower() for text in column.filter(odd).to_pylist()]
            return pc.replace_with_mask(lowered, odd, pa.array(texts, pa.string()))
    return lowered
