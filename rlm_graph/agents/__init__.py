"""What an agent is made of, and the compiled graph that callers get."""
