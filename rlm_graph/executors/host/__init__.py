"""The host's end: what the process that drives a run does with REPLs that have a supervisor in their sandbox.

`executor.py` is the base of the executors of all places, `repl.py` a REPL seen from here, `link.py` the connection to
its supervisor over a stream (`stream.py`), `service.py` what answers the calls of a cell, `reports.py` what is believed
of what a sandbox says. `process.py` names owners, `sandboxes.py` tells what sandboxes there are, and `bundle.py` packs
what runs inside them, which is `executors/sandbox/`.
"""
