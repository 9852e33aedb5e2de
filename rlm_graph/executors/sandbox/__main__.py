"""Commands of the bundle: `supervise SETTINGS` (a JSON object) starts a REPL, `relay SOCKET [SECONDS]` speaks to one.

`fork-server` starts one for each line of settings that it reads. A relay that hears nothing of its owner for so many
seconds ends.
"""

from __future__ import annotations

import json
import os
import sys

from rlm_graph.executors.sandbox.supervisor.starting import supervise


def main() -> None:
    """Run the command that the arguments name."""
    command, *arguments = sys.argv[1:]
    if sys.flags.hash_randomization:
        # The order of sets must be the same on every run, so that a replay finds what was.
        environment = {"PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, "-s", "-X", "utf8", *sys.argv], environment)  # noqa: S606  # ourselves
    if command == "supervise":
        sys.exit(supervise(json.loads(arguments[0])))
    elif command == "fork-server":
        from rlm_graph.executors.sandbox.supervisor.fork_server import serve_forks

        serve_forks()
    elif command == "relay":
        from rlm_graph.executors.sandbox.supervisor.relay import relay

        relay(arguments[0], *map(float, arguments[1:]))
    else:
        sys.exit(f"no command {command!r}; there are: supervise, fork-server, relay")


if __name__ == "__main__":
    main()
