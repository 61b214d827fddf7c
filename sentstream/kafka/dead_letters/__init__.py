"""What cannot be scored: how it is kept, looked at, and put back."""
