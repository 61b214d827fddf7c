"""What the consume loop tells of itself, and who listens: health, metrics."""
