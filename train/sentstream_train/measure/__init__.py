"""Predictions to figures: accuracy, calibration, and how far chance moves them."""
