"""What waits for approval in a run, and what was decided on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlm_graph.approval import ApprovalRequest, Decision
from rlm_graph.errors import InputError
from rlm_graph.value import Value


class Waiting(Value):
    """A request that waits for approval."""

    id: str
    """Of LangGraph's interrupt; it stays the same for as long as the request waits."""
    request: ApprovalRequest

    @classmethod
    def of(cls, interrupt: Any) -> Waiting:
        """Read one of LangGraph's interrupts."""
        return cls(id=interrupt.id, request=ApprovalRequest.model_validate(interrupt.value))


class Verdict(Value):
    """What was decided on everything that waits, or on one request of it."""

    decision: Decision = Decision()
    number: int | None = None
    """Of the one request, from 1, in the order in which they are shown."""
    id: str | None = None
    """Of the one request; used where no number is given."""

    def answers(self, waiting: Sequence[Waiting]) -> dict[str, Any]:
        """Return what each request that was decided on is answered with, by its id.

        Raises `InputError` if the verdict fits none of what waits.
        """
        chosen = self._chosen(waiting)
        edit = self.decision.edit
        if edit is not None and any(one.request.kind != "code" for one in chosen):
            raise InputError("an edit replaces code; a call can be approved or rejected")
        answer: dict[str, Any] = {"approve": self.decision.approve, "reason": self.decision.reason}
        if edit is not None:
            answer["edit"] = edit[0] if len(edit) == 1 else list(edit)
        return {one.id: answer for one in chosen}

    def _chosen(self, waiting: Sequence[Waiting]) -> list[Waiting]:
        if self.number is not None:
            if not 1 <= self.number <= len(waiting):
                raise InputError(
                    f"no request {self.number} waits for approval: {len(waiting)} do; "
                    f"give a number from 1 to {len(waiting)}"
                )
            return [waiting[self.number - 1]]
        if self.id is None:
            return list(waiting)
        found = [one for one in waiting if one.id == self.id]
        if not found:
            raise InputError(f"no request {self.id!r} waits for approval; look again at what does")
        return found
