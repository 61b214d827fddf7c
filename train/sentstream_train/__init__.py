"""Train, fine-tune, evaluate and export recurrent networks for ``sentstream`` (extra ``train``).

Importing the package loads nothing; each module loads TensorFlow only if it needs it.
"""
