"""The page of a hyperparameter search."""
