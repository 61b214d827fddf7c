"""Complete runs that end with a model: train, fine-tune, calibrate."""
