"""Peers, each in an environment of its own, that are asked for the same work as the engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PEERS = {"rlms": "rlms==0.1.3"}
"""What to install, by the name of the program beside this one that runs it."""
FOLDER = Path(__file__).parents[2] / ".venv-peers"


def python_of(peer: str) -> Path | None:
    """Return the peer's Python, with the peer installed; None, and say why, where that cannot be."""
    environment = FOLDER / peer
    python = environment / "bin" / "python"
    if not python.exists():
        uv = Path(sys.executable).with_name("uv")
        try:
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
            subprocess.run([uv, "pip", "install", "--quiet", "--python", python, PEERS[peer]], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{peer} is not compared: {error}")
            return None
    return python


def run(peer: str, url: str, turns: int) -> bool:
    """Have the peer take so many turns with the provider at `url`. Return whether it could."""
    return cpu_of(peer, url, turns) is not None


def cpu_of(peer: str, url: str, turns: int, runs: int = 1) -> float | None:
    """Have the peer take so many turns in each of so many runs at once.

    Return the seconds of processor time that it took; None, and say why, where it could not.
    """
    python = python_of(peer)
    if python is None:
        return None
    program = Path(__file__).with_name(f"{peer}.py")
    command = [python, program, url, str(turns), str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{peer} is not compared: {done.stderr.strip().splitlines()[-1:]}")
        return None
    return float(done.stdout.split()[-1])


def run_over(peer: str, url: str, file: Path) -> float | None:
    """Have the peer answer over a file. Return when it was asked, by `time.perf_counter`; None where it could not."""
    python = python_of(peer)
    if python is None:
        return None
    program = Path(__file__).with_name(f"{peer}.py")
    done = subprocess.run([python, program, url, "1", "1", file], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{peer} is not compared: {done.stderr.strip().splitlines()[-1:]}")
        return None
    return float(done.stdout.splitlines()[0])
