"""A hyperparameter search within a budget."""
