"""What runs inside a sandbox: a supervisor and its worker. Standard library only, Python 3.9 or newer."""
