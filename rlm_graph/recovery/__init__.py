"""How a run comes back: its cells replayed, or its REPL read from a snapshot."""
