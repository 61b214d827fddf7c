"""Records to results: the model, in this process or in one of its own."""
