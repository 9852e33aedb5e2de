"""What executors share whose REPLs are processes of this machine: `local` and `pyodide`.

`folder.py` is their base, with a folder for each REPL; `fork_server.py` starts and asks the fork server, the process
from which supervisors are forked. What that process runs is `sandbox/supervisor/fork_server.py`.
"""
