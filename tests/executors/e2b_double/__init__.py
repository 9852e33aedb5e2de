"""A stand-in for E2B's cloud on this machine, which the genuine SDK speaks to: see `server.py`."""
