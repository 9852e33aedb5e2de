"""What the exit code of a command says. Scripts rely on it."""

from __future__ import annotations

from enum import IntEnum

from rlm_graph.errors import (
    BudgetExceeded,
    ExecutorError,
    InputError,
    ModelError,
    RLMError,
    SetupError,
    StorageError,
)


class Exit(IntEnum):
    """Exit codes."""

    OK = 0
    FAILED = 1
    """Anything that has no code of its own."""
    USAGE = 2
    """The question, the context or an argument cannot be used."""
    SETUP = 3
    """Settings, credentials, or the database that they name."""
    BUDGET = 4
    """A ceiling was reached; the best answer so far is on stdout."""
    SANDBOX = 5
    PROVIDER = 6
    WAITING = 7
    """The run waits for approval, and is saved."""
    INTERRUPTED = 130
    """By Ctrl-C or SIGTERM; the run is saved."""


_CODES: dict[type[RLMError], Exit] = {
    InputError: Exit.USAGE,
    SetupError: Exit.SETUP,
    StorageError: Exit.SETUP,
    BudgetExceeded: Exit.BUDGET,
    ExecutorError: Exit.SANDBOX,
    ModelError: Exit.PROVIDER,
}


def exit_code(error: RLMError) -> Exit:
    """Return the code that tells a script what kind of error ended the command."""
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), Exit.FAILED)


def is_interrupt(error: BaseException) -> bool:
    """Tell whether Ctrl-C has ended the work, which Python 3.11 wraps where it meets a class that is being made.

    What comes in `__set_name__` is raised as the cause of a `RuntimeError` (https://github.com/python/cpython/issues/77757),
    and a command makes thousands of classes while it imports.
    """
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)
