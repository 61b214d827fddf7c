"""From predictions to metrics: accuracy, calibration, and their confidence intervals."""
