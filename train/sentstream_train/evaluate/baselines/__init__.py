"""Baselines for a model to beat."""
