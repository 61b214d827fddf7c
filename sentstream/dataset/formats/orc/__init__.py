"""ORC, stripe by stripe."""
