"""A record batch of tweets -> the same batch with label columns."""

from sentstream.scorer.scorer import Scored, Scorer

__all__ = ["Scored", "Scorer"]
