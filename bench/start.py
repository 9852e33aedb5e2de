"""What it takes to begin, to end and to look: processor time, wall clock and memory of commands and imports.

    python bench/start.py [--rounds 7]

`run` answers a question in two turns, with a model that answers at once and notes how far the process was: the
processor time until its first request, and how long the process lives after its last reply. Beside it, in the same
rounds, an interpreter that imports `langgraph.graph` and does nothing, and the peer `rlms`, which is asked the same by
a program of a few lines. All modules are compiled before, as pip compiles what it installs. Figures are medians.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from parts import measured, peers
from parts.measured import Asked, Cost, RunCost

PYTHON = Path(sys.executable)
COMMAND = PYTHON.with_name("rlm-graph")
LIMIT = "import langgraph.graph"

COMMANDS: dict[str, Sequence[str | Path]] = {
    LIMIT: [PYTHON, "-c", LIMIT],
    "import rlm_graph.create_rlm_agent": [PYTHON, "-c", "import rlm_graph; rlm_graph.create_rlm_agent"],
    "rlm-graph --help": [COMMAND, "--help"],
    "rlm-graph logs": [COMMAND, "logs"],
    "rlm-graph logs RUN": [COMMAND, "logs", "mine"],
    "rlm-graph ps": [COMMAND, "ps"],
    "rlm-graph du": [COMMAND, "du"],
}


def environment(home: Path) -> dict[str, str]:
    """Return an environment with no settings of this machine's user, in which Python may keep what it compiles."""
    left_out = ("RLM_", "PYTHONDONTWRITEBYTECODE", "OPENAI_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    places = {name: str(home) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "RLM_DATA_DIR")}
    return {**kept, **places, "OPENAI_API_KEY": "none", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    found: dict[str, list[Cost]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name, measured.asked() as model:
        folder = Path(name)
        run = [COMMAND, "run", "What is it?", "-m", "openai/root", "--base-url", model.url, "--allow-unpriced"]
        asking: dict[str, Sequence[str | Path]] = {"rlm-graph run": run}
        for peer in peers.PEERS:
            if (python := peers.python_of(peer)) is not None:
                asking[peer] = [python, Path(__file__).parent / "parts" / f"{peer}.py", model.url, "2"]
        where = {"folder": folder, "environment": environment(folder)}
        model.process([*run, "--thread", "mine"], **where)
        for _ in range(1 + options.rounds):  # the first one compiles, and is not counted
            for title, command in COMMANDS.items():
                found[title].append(measured.process(command, **where))
            for title, command in list(asking.items()):
                if (cost := _asking(model, title, command, **where)) is not None:
                    found[title].append(cost)
                else:
                    del asking[title]
    _show({title: costs[1:] for title, costs in found.items() if costs[1:]})


def _asking(
    model: Asked, title: str, command: Sequence[str | Path], *, folder: Path, environment: dict[str, str]
) -> RunCost | None:
    try:
        return model.process(command, folder=folder, environment=environment)
    except subprocess.CalledProcessError as error:
        print(f"{title} is not compared: {error}")
        return None


def _show(found: dict[str, list[Cost]]) -> None:
    limit = median(cost.cpu_s for cost in found[LIMIT])
    titles = (
        ("CPU s", 24),
        ("wall s", 9),
        ("memory MB", 11),
        ("first request: CPU s, wall s", 31),
        ("reply to exit s", 17),
    )
    print(" " * 34, *(title.rjust(width) for title, width in titles), sep="")
    for title, costs in found.items():

        def of(figure: Callable[..., float], costs: Sequence[Cost] = costs) -> float:
            return median(map(figure, costs))

        spread = f"({min(cost.cpu_s for cost in costs):.2f}-{max(cost.cpu_s for cost in costs):.2f}"
        cpu_s = of(lambda cost: cost.cpu_s)
        line = f"{title:34}{f'{cpu_s:.2f} {spread}, x {cpu_s / limit:.2f})':>24}"
        line += f"{of(lambda cost: cost.wall_s):9.2f}{of(lambda cost: cost.memory_mb):11.0f}"
        if isinstance(costs[0], RunCost):
            first = f"{of(lambda cost: cost.first_cpu_s):.2f}, {of(lambda cost: cost.first_wall_s):.2f}"
            line += f"{first:>31}{of(lambda cost: cost.exit_s):17.2f}"
        print(line)


if __name__ == "__main__":
    main()
