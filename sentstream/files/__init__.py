"""Parquet files in, Parquet files out."""

from sentstream.files.reader import Piece, open_source, read_piece
from sentstream.files.score import Plan, Report, prepare, score_piece

__all__ = ["Piece", "Plan", "Report", "open_source", "prepare", "read_piece", "score_piece"]
