"""All that runs inside a sandbox. Standard library only, Python 3.9 or newer; `host/bundle.py` packs it into one file.

- `supervisor/`: the process that outlives the owner, and holds the clock and the worker of one REPL.
- `worker/`: the process under the supervisor that runs the code of a model.
- `confinement/`: what the kernel takes from the worker before it runs a line of that code.
- `frames.py` and `link.py`: how owner, supervisor and worker speak to each other.
- `__main__.py`: the commands of the bundle (`supervise`, `fork-server`, `relay`).
"""
