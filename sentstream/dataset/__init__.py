"""Score data sets: files in, files out."""

from sentstream.dataset.formats.api import Piece
from sentstream.dataset.formats.open import open_source, read_piece
from sentstream.dataset.pieces import score_piece
from sentstream.dataset.plan import Plan
from sentstream.dataset.preparation import prepare
from sentstream.dataset.report import Report
from sentstream.dataset.run import score_plan

__all__ = ["Piece", "Plan", "Report", "open_source", "prepare", "read_piece", "score_piece", "score_plan"]
