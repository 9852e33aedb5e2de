"""Approval: what a human, or a function in a human's place, may say about code and calls before they happen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from pydantic import Field, JsonValue, ValidationError

from rlm_graph.errors import InputError, SetupError, nearest
from rlm_graph.value import Value

PREVIEW_CHARS = 2_000
"""Characters of a prompt that a request shows. A request is stored with the run, a whole prompt never is."""


class ApprovalRequest(Value):
    """What is about to happen. A paused run shows it as the value of its interrupt."""

    kind: Literal["code", "subcall"]
    cells: tuple[str, ...] = ()
    """For code: the cells, in order."""
    function: str = ""
    """For a call: the function that the code calls."""
    agent: str = ""
    """For code: the specialist that wrote it. For a call: the specialist that it asks. Empty where there is none."""
    preview: str = ""
    """For a call: the head of its prompt, or a tool's arguments."""
    model: str = ""
    """For a call: the model that the code asks for. Empty where it leaves that open."""
    budget: dict[str, JsonValue] = Field(default_factory=dict)
    """For a call: the ceilings that the code asks for."""


class Decision(Value):
    """What was decided. `True` or `"approve"`, `False` or `"reject"`, and a dict of these fields are read as one."""

    approve: bool = True
    reason: str = ""
    """Of a rejection, for the model to read."""
    edit: tuple[str, ...] | None = None
    """Cells to run in the place of those that were shown."""

    @classmethod
    def of(cls, given: Any) -> Decision:
        """Read a decision. Raises `InputError` if it is none."""
        if isinstance(given, Decision):
            return given
        if isinstance(given, bool):
            return cls(approve=given)
        if given in ("approve", "reject"):
            return cls(approve=given == "approve")
        if isinstance(given, Mapping):
            fields = dict(given)
            if isinstance(fields.get("reject"), str):
                fields = {"approve": False, "reason": fields["reject"]}
            if isinstance(fields.get("edit"), str):
                fields["edit"] = (fields["edit"],)
            try:
                return cls.model_validate(fields)
            except ValidationError:
                pass
        raise InputError(f"{given!r} is no decision; resume with True, False, {{'reject': reason}} or {{'edit': code}}")


InterruptOn = Literal["code", "subcalls"] | Mapping[str, bool] | Callable[[ApprovalRequest], Any]
"""Which requests wait for a human: all code, or all calls that code makes; those of some names, as in
`{"code": True, "delete_file": True, "llm_query": False}`, where a name that is missing waits for nobody; or a function
that decides each, and returns None for those that wait."""

NAMES = ("code", "llm_query", "rlm_query")
"""What may wait for a human in every run; a run's tools may too, by their names."""


class Approval:
    """The policy of one agent."""

    def __init__(self, interrupt_on: InterruptOn | None) -> None:
        self._interrupt_on = interrupt_on

    @classmethod
    def of(cls, interrupt_on: Any, *, tools: Collection[str]) -> Approval:
        """Read what a caller gave. Raises `SetupError` for what is no policy, and for a name that no request has.

        `tools` are the names of all tools that the run and its specialists have.
        """
        if isinstance(interrupt_on, Mapping):
            for name, waits in interrupt_on.items():
                if not isinstance(waits, bool):
                    raise SetupError(
                        f"interrupt_on[{name!r}]: give True or False, not {waits!r}: whoever decides may always "
                        "approve and reject, and edit code; to show or decide it otherwise, give a function"
                    )
                if name not in NAMES and name not in tools:
                    raise SetupError(f"interrupt_on: nothing is called {name!r}{nearest(name, [*NAMES, *tools])}")
        elif interrupt_on not in (None, "code", "subcalls") and not callable(interrupt_on):
            raise SetupError(
                f"interrupt_on: give 'code', 'subcalls', a dict such as {{'code': True}}, or a function, not "
                f"{interrupt_on!r}"
            )
        return cls(interrupt_on)

    @property
    def of_code(self) -> bool:
        """Whether code may have to wait."""
        if isinstance(self._interrupt_on, Mapping):
            return self._interrupt_on.get("code", False)
        return self._interrupt_on is not None and self._interrupt_on != "subcalls"

    @property
    def waits(self) -> bool:
        """Whether something is sure to wait for a human. A function may decide everything itself."""
        if isinstance(self._interrupt_on, Mapping):
            return any(self._interrupt_on.values())
        return self._interrupt_on in ("code", "subcalls")

    def may_wait(self, function: str) -> bool:
        """Whether a call of that function may have to wait."""
        if isinstance(self._interrupt_on, Mapping):
            return self._interrupt_on.get(function, False)
        return self._interrupt_on not in (None, "code")

    def rejection(self, request: ApprovalRequest) -> str | None:
        """Return why the request must not be met, in words for the code that made it; None if it may be."""
        decision = self.decide(request)
        if decision.approve:
            return None
        return f"the user rejected this call{': ' if decision.reason else ''}{decision.reason}"

    def decide(self, request: ApprovalRequest) -> Decision:
        """Return the decision, or pause the run until somebody resumes it with one. Call it before anything is done."""
        match self._interrupt_on:
            case None:
                return Decision()
            case "code" | "subcalls":
                asked = {"code": "code", "subcalls": "subcall"}[self._interrupt_on] == request.kind
                decided = None if asked else True
            case Mapping() as waits:
                name = "code" if request.kind == "code" else request.function
                decided = None if waits.get(name, False) else True
            case decider:
                decided = decider(request)
        if decided is None:
            from langgraph.types import interrupt

            decided = interrupt(request.model_dump(mode="json"))
        return Decision.of(decided)
