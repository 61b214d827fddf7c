"""Fit a network one epoch at a time: losses, optimizers, teachers."""
