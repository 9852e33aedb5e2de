"""A run that waits for approval: what waits is shown, and what the user decided is handed to the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_graph.cli.output import Output
from rlm_graph.cli.printing import put_json, say
from rlm_graph.errors import InputError

if TYPE_CHECKING:
    from rlm_graph.approval import ApprovalRequest


@dataclass(frozen=True)
class Verdict:
    """What the user decided on everything that waits, or on one of it (`call`, from 1)."""

    approve: bool = True
    reason: str = ""
    edit: str | None = None
    call: int | None = None

    @classmethod
    def of(
        cls, *, approve: bool, reject: bool, reason: str | None, edit: Path | None, call: int | None
    ) -> Verdict | None:
        """Read the flags; None if none was given. Raises `InputError` if they do not go together."""
        given = [approve, reject, edit is not None]
        if sum(given) > 1:
            raise InputError("--approve, --reject and --edit exclude one another; give one of them")
        if reason is not None and not reject:
            raise InputError("--reason goes with --reject")
        if not any(given):
            if call is not None:
                raise InputError("--call N goes with --approve or --reject")
            return None
        try:
            code = None if edit is None else edit.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--edit {edit}: {getattr(error, 'strerror', None) or 'not text in UTF-8'}") from error
        return cls(approve=not reject, reason=reason or "", edit=code, call=call)

    def command(self, waiting: Sequence[Any], update: Mapping[str, Any] | None) -> Any:
        """Return the input that takes up a run with these interrupts. Raises `InputError` if the verdict fits none."""
        from langgraph.types import Command

        chosen = list(waiting)
        if self.call is not None:
            if not 1 <= self.call <= len(chosen):
                raise InputError(f"--call {self.call}: {len(chosen)} wait; give a number from 1 to {len(chosen)}")
            chosen = chosen[self.call - 1 : self.call]
        if self.edit is not None and any(_request(one).kind != "code" for one in chosen):
            raise InputError("--edit replaces code; a call can be approved or rejected")
        decision: dict[str, Any] = {"approve": self.approve, "reason": self.reason}
        if self.edit is not None:
            decision["edit"] = self.edit
        return Command(resume={one.id: decision for one in chosen}, update=dict(update) if update else None)


def show(run: str, waiting: Sequence[Any], output: Output) -> None:
    """Show what waits, as text that no terminal obeys, and say how to go on."""
    requests = [_request(one) for one in waiting]
    if output.json:
        put_json(
            {"run": run, "status": "waiting", "waiting": [request.model_dump(mode="json") for request in requests]}
        )
    for number, request in enumerate(requests, start=1):
        of_whom = f" ({request.agent})" if request.agent else ""
        say(f"--- {number} of {len(requests)}: {request.function or 'code'}{of_whom} ---")
        say("\n\n".join(request.cells) if request.kind == "code" else request.preview)
    edit = "" if any(request.kind != "code" for request in requests) else " | --edit FILE"
    one = " [--call N]" if len(requests) > 1 else ""
    say(f"waits for approval; go on: rlm-graph resume {run} --approve | --reject [--reason TEXT]{edit}{one}")


def _request(interrupt: Any) -> ApprovalRequest:
    from rlm_graph.approval import ApprovalRequest

    return ApprovalRequest.model_validate(interrupt.value)
