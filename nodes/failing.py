"""Requests to the root model that fail though they cost something: what they cost is recorded before anything else.

A node that raises leaves nothing in the checkpoint. So a failed attempt that has cost something ends its step as if all
were well, with its cost in the step's update; the next step asks again, or raises the error if enough was tried.
Attempts that cost nothing are left to LangGraph's retry policy.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Sequence

from langgraph.runtime import get_runtime
from langgraph.types import RetryPolicy

from rlm_graph.budget import Usage
from rlm_graph.errors import ModelError


class CostlyFailures:
    """The failures of the runs that are under way in this process, by ids that the runs' states hold.

    An id that is not known here is of another process, or of a run that was ended by its error: whoever takes up such a
    run wants the model asked anew, as often as `retry` allows.
    """

    def __init__(self, retry: RetryPolicy) -> None:
        self._retry = retry
        self._known: dict[str, ModelError | None] = {}

    @property
    def retry(self) -> RetryPolicy:
        """The policy for the node: attempts that cost something are not its affair."""
        return self._retry._replace(retry_on=_cost_nothing)

    async def settle(self, ids: Sequence[str]) -> Sequence[str]:
        """Return the failures in a row that count, after the pause that is due after them.

        Raises the last one's `ModelError` if enough was tried.
        """
        if not ids or ids[-1] not in self._known:
            return ()
        error = self._known[ids[-1]]
        if error is not None:
            self.forget(ids)
            raise error
        pause = self._retry.initial_interval * self._retry.backoff_factor ** (len(ids) - 1)
        await asyncio.sleep(min(self._retry.max_interval, pause) + (random.random() if self._retry.jitter else 0.0))
        return ids

    def record(self, ids: Sequence[str], error: ModelError, spent: Usage) -> list[str]:
        """Return the failures with this one, which the next step finds in the state."""
        info = get_runtime().execution_info
        attempts = len(ids) + (1 if info is None else info.node_attempt)
        again = error.retryable and attempts < self._retry.max_attempts
        error.usage = error.usage or spent
        failure = uuid.uuid4().hex
        self._known[failure] = None if again else error
        return [*ids, failure]

    def forget(self, ids: Sequence[str]) -> None:
        """Forget the failures: the model was answered, or the run has ended."""
        for failure in ids:
            self._known.pop(failure, None)


def _cost_nothing(error: Exception) -> bool:
    return isinstance(error, ModelError) and error.retryable and error.usage is None
