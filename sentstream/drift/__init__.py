"""Drift detection: counts of a model's results on tweets, and the distance between two sets of counts."""
