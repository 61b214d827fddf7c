"""What a training run leaves on disk, and opening it again."""
