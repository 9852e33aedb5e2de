"""The settings of one command: on a terminal the user is asked whether a folder may have those that run or send."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_graph.cli.printing import manner, remark, say
from rlm_graph.errors import InputError, UntrustedError

if TYPE_CHECKING:
    from rlm_graph.settings import Settings

MAX_SHOWN = 40
"""Settings that are shown of a folder; one that has more has to be read."""


def load_settings(flags: Mapping[str, Any] | None = None, *, config: Path | None = None) -> Settings:
    """Return the settings of this command.

    Where a folder has guarded ones and nobody has trusted it, the user is asked on a terminal; elsewhere, and if the
    answer is no, `UntrustedError` is raised.
    """
    from rlm_graph.settings import Settings, trust

    manner.place = _place(flags or {}, config)
    with _remarks():
        try:
            return Settings.load(flags, config=config)
        except UntrustedError as error:
            if not _may_ask(error) or not _agreed(error):
                raise
            trust(error.files)  # as it was shown: what has changed since is not trusted
    return Settings.load(flags, config=config)


def _place(flags: Mapping[str, Any], config: Path | None) -> str:
    """Return the flags that say where runs lie. Raises `InputError` for a file in a folder that is not there."""
    from rlm_graph.settings.sources import is_address, without_password

    db = flags.get("db")
    words = []
    if db is not None:
        shown = without_password(db) if is_address(db) else str(db)
        words += ["--db", shown]
        folder = Path(db).expanduser().parent
        if not is_address(db) and not folder.is_dir():
            raise InputError(f"--db {db}: there is no folder {folder}")
    words += ["--encrypt"] if flags.get("encrypt") else []
    words += [] if config is None else ["--config", str(config)]
    return f" {shlex.join(words)}" if words else ""


@contextmanager
def _remarks() -> Iterator[None]:
    """Say in a line each what the settings warn of within the block."""
    from rlm_graph.settings.sources import SettingsWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SettingsWarning)
        try:
            yield
        finally:
            for warning in caught:
                if issubclass(warning.category, SettingsWarning):
                    remark(f"note: {warning.message}")


def _may_ask(error: UntrustedError) -> bool:
    on_terminal = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))
    return on_terminal and len(error.wanted) <= MAX_SHOWN


def _agreed(error: UntrustedError) -> bool:
    say(f"{' and '.join(map(str, error.files))}: nobody has trusted this, and it would run, load, send or allow:")
    for line in error.wanted:
        say(f"    {line}")
    say("Trust it, as it is now? Type yes, or anything else to stop:")
    return sys.stdin.readline().strip().lower() == "yes"
