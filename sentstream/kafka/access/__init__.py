"""Connecting: client settings, TLS, login, and diagnosis of an unreachable broker."""
