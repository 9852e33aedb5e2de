"""The life of a run, for every door."""
