"""The process that runs a model's code."""
