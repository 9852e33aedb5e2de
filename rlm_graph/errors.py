"""Everything rlm-graph raises.

RLMError
├── SetupError             the run cannot start: bad settings, no key, an unknown model, no sandbox here
├── InputError             what the caller gave cannot be used: no question, an unreadable context, a bad schema
│   └── RunNotFoundError   no run of that name is in the database
├── StorageError           the database is corrupt, locked, full or of another kind
├── RunHeldError           another process is at work on the run
├── BudgetExceeded         a call asked for more than is left
├── ExecutorError          the sandbox failed, and no code the model writes can repair it
│   └── ReplLostError      the REPL that a checkpoint names is gone and cannot be rebuilt
└── ModelError             the provider failed after its retries

An exception in the model's own code is none of these: it is output for the model to read.
"""

from __future__ import annotations


class RLMError(Exception):
    """The base of all of them. The message says what failed and what to do next."""


class SetupError(RLMError):
    """The run cannot start as it is configured."""


class InputError(RLMError):
    """The question, the context or an argument cannot be used."""


class RunNotFoundError(InputError):
    """The database holds no run of that name."""


class StorageError(RLMError):
    """The database of runs cannot be read or written."""


class RunHeldError(RLMError):
    """Another process is at work on the run. `holder` tells which one and since when, as far as it is known."""

    def __init__(self, run: str, holder: str) -> None:
        self.run = run
        self.holder = holder
        super().__init__(f"run {run} is held by {holder}; wait for it (--wait), or end that process")

    def __reduce__(self) -> tuple[object, ...]:
        return RunHeldError, (self.run, self.holder)


class BudgetExceeded(RLMError):
    """A call asked for more than its budget leaves.

    `ceiling` is the field of `Budget` that was met, `spent` and `limit` are in that field's unit.
    """

    def __init__(self, ceiling: str, *, spent: float, limit: float) -> None:
        self.ceiling = ceiling
        self.spent = spent
        self.limit = limit
        flag = "--" + ceiling.removesuffix("_usd").removesuffix("_s").replace("_", "-")
        super().__init__(f"{ceiling} reached: spent {spent:,g} of {limit:,g}; go on with a larger {flag}")

    def __reduce__(self) -> tuple[object, ...]:
        return _budget_exceeded, (self.ceiling, self.spent, self.limit)


def _budget_exceeded(ceiling: str, spent: float, limit: float) -> BudgetExceeded:
    return BudgetExceeded(ceiling, spent=spent, limit=limit)


class ExecutorError(RLMError):
    """The sandbox failed. The last checkpoint holds the run."""


class ReplLostError(ExecutorError):
    """The REPL that a checkpoint names is gone and cannot be rebuilt."""


class ModelError(RLMError):
    """The provider failed. `retryable` tells whether the same request may succeed later.

    `too_long`: the request exceeds the model's context window. `retry_after_s` is the pause that the provider asked
    for, in seconds.
    """

    def __init__(
        self, message: str, *, retryable: bool = False, too_long: bool = False, retry_after_s: float | None = None
    ) -> None:
        self.retryable = retryable
        self.too_long = too_long
        self.retry_after_s = retry_after_s
        super().__init__(message)
