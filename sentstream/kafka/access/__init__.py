"""How to get in: the operator's settings, TLS and login, and why a broker cannot be reached."""
