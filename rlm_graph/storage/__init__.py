"""The database of runs, on SQLite and PostgreSQL, and what is written beside it."""
