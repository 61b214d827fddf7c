"""Export a trained model to a sealed bundle, with a parity check and a model card."""
