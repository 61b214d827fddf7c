"""Evaluation: how good a model is, with confidence intervals and baselines."""
