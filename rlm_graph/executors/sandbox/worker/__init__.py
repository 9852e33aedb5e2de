"""The worker, inside the sandbox: the process that runs the code of a model, under a supervisor."""
