"""Where the REPLs of a trial are: how they are listed, killed, and removed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tests.faults.processes import supervisors_in, wait_until


class Place(Protocol):
    """Holds the REPLs of one trial, and no others."""

    def environment(self) -> dict[str, str]:
        """Return what a command is told so that its REPLs are there."""

    def repls(self) -> list[str]:
        """Return the names of those that are there, alive or not."""

    def kill(self) -> None:
        """Kill their supervisors, and with them their workers, as a reboot would."""

    def clear(self) -> None:
        """Remove all that is left of them."""


class Folders:
    """Folders of this machine, each with a supervisor in it."""

    def __init__(self, trial: Path) -> None:
        self._trial = trial

    def environment(self) -> dict[str, str]:
        return {}

    def repls(self) -> list[str]:
        return [path.name for path in self._trial.glob("tmp*/rlm-graph-*/*")]

    def kill(self) -> None:
        for pid in supervisors_in(self._trial):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def clear(self) -> None:
        self.kill()


class Containers:
    """Containers that the trial's hosts have asked the daemon for; `injector.py` notes their names before they do."""

    def __init__(self, trial: Path) -> None:
        self._noted = trial / "containers"
        self._noted.touch()

    @staticmethod
    def note(trial: Path, name: str) -> None:
        """Note that a host is about to ask for a container of that name."""
        with (trial / "containers").open("a") as file:
            file.write(f"{name}\n")

    def environment(self) -> dict[str, str]:
        from tests.docker_image import prepared_image

        given = {name: value for name, value in os.environ.items() if name.startswith("DOCKER_")}
        return {
            **given,
            "RLM_EXECUTOR__KIND": "docker", "RLM_EXECUTOR__IMAGE": prepared_image(), "RLM_EXECUTOR__PULL": "false",
        }  # fmt: skip

    def noted(self) -> list[str]:
        """Return the names of all that were asked for, in that order."""
        return list(dict.fromkeys(self._noted.read_text().split()))

    def repls(self) -> list[str]:
        noted = self.noted()
        if not noted:
            return []
        return [name for name in docker("ps", "--all", "--format", "{{.Names}}").split() if name in noted]

    def kill(self) -> None:
        for name in self.repls():
            # One that was made and never started, or has just ended, cannot be killed.
            docker("kill", name, check=False)

    def clear(self) -> None:
        def gone() -> bool:
            for name in self.repls():
                # It may be removing itself.
                docker("rm", "--force", "--volumes", name, check=False)
            return not self.repls()

        wait_until(gone)


def has_docker() -> bool:
    """Whether a Docker daemon answers."""
    return (
        shutil.which("docker") is not None
        and subprocess.run(["docker", "version"], capture_output=True).returncode == 0
    )


def docker(*command: str, check: bool = True) -> str:
    """Run the docker command and return what it prints."""
    return subprocess.run(["docker", *command], check=check, capture_output=True, text=True, timeout=100).stdout
