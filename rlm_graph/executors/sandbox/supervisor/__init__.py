"""The supervisor, inside the sandbox: it starts the worker, reads what the worker says, and speaks to the owner.

`supervisor.py` is its loop, `starting.py` its start and `settings.py` what it starts with; `fork_server.py` is the
process from which supervisors of this machine are forked. `repl.py` keeps the worker and the running cell
(`cell_run.py`), `process.py` is the worker's process and `worker_start.py` what a fork does to become one; `program.py`
is a worker that is another program. `clients.py` accepts connections, `requests.py` serves what is asked over them, and
`relay.py` carries frames from where an owner can only start a command.
"""
