"""The settings of one command: on a terminal the user is asked whether a folder may have those that run or send."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_graph.cli.printing import remark, say
from rlm_graph.errors import UntrustedError

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

    with _remarks():
        try:
            return Settings.load(flags, config=config)
        except UntrustedError as error:
            if not _may_ask(error) or not _agreed(error):
                raise
            trust(error.files)  # as it was shown: what has changed since is not trusted
    return Settings.load(flags, config=config)


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
