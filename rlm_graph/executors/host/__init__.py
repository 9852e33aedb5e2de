"""The host's end of every REPL that has a supervisor in its sandbox."""
