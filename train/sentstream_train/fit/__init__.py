"""Fit a network, an epoch at a time: losses, optimizers, teachers."""
