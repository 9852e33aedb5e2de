"""A run as it was asked for: what it is recorded with, and what must hold before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal

from rlm_graph.runs.allowed import check_executors, check_models, check_tools
from rlm_graph.runs.answer_form import Schema
from rlm_graph.settings import AgentSettings, Settings
from rlm_graph.state import ContextRef
from rlm_graph.storage.encryption import Cipher
from rlm_graph.storage.runs import Run, Runs

Policy = Literal["code", "subcalls"]
"""What of a run can wait for approval."""

KEPT = {"model", "sub_model", "executor", "models", "protocol", "agents", "memory"}
"""The settings that a run is recorded with, and that hold when it is taken up again."""


@dataclass(frozen=True)
class Job:
    """A run as it was asked for: all that is needed to start it, now or again."""

    question: str
    settings: Settings
    context: ContextRef | None = None
    schema: Schema | None = None
    approve: Policy | None = None
    """What waits for a human."""
    forked: Mapping[str, Any] | None = None
    """The run that it began as a copy of, and the turn: `{"run", "turn"}`."""

    def record(self) -> dict[str, Any]:
        """Return the form in which the database keeps it."""
        return {
            "settings": {
                **self.settings.model_dump(mode="json", include=KEPT),
                "agents": {name: _agent(agent) for name, agent in self.settings.agents.items()},
            },
            # Which ceilings were set matters as much as their values: a default one refuses no unpriced model.
            "budget": self.settings.budget.model_dump(mode="json", exclude_unset=True),
            "context": self.context.model_dump(mode="json") if self.context else None,
            "schema": dict(self.schema) if isinstance(self.schema, Mapping) else self.schema,
            "approve": self.approve,
            # Their names alone: what runs under them is the affair of the machine that the run goes on with.
            "tools": list(self.settings.tools.use),
            "forked": dict(self.forked) if self.forked else None,
        }

    @classmethod
    def of(
        cls, run: Run, settings: Settings, flags: Mapping[str, Any], *, reach: Literal["all", "executors"] = "all"
    ) -> Job:
        """Return the job that `run` was started with, but for what `flags` says now.

        `settings` are those of this command: where data lies is not the run's, but this machine's. Raises `SetupError`
        for what they and the flags do not allow today; see `rlm_graph.runs.allowed`.
        """
        from rlm_graph.settings.sources import overlaid

        record: dict[str, Any] = dict(run.settings)
        kept = overlaid({**record["settings"], "budget": record["budget"]}, flags)
        today = overlaid(settings.model_dump(mode="json"), flags)
        here = settings.model_dump(exclude=KEPT | {"budget"})
        here["tools"]["use"] = today["tools"]["use"] if "tools" in flags else record.get("tools", ())
        check_executors(run.id, kept, today)
        if reach == "all":
            check_models(run.id, kept, today)
            check_tools(run.id, kept, here["tools"]["use"], today)
        context = record["context"]
        return cls(
            question=run.question,
            settings=Settings.checked({**kept, **here}),
            context=ContextRef.model_validate(context) if context else None,
            schema=record["schema"],
            approve=record.get("approve"),
            forked=record.get("forked"),
        )

    @property
    def forked_at(self) -> int:
        """The turn of another run after which this one began; 0 before the first."""
        return int(self.forked["turn"]) if self.forked else 0

    @property
    def given(self) -> dict[str, Any]:
        """The graph's input."""
        given = {"question": self.question, "context": self.context, "budget": self.settings.budget}
        return {key: value for key, value in given.items() if value is not None}


def _agent(agent: AgentSettings) -> dict[str, Any]:
    # As with the run's own budget, which ceilings were set matters as much as their values.
    budget = None if agent.budget is None else agent.budget.model_dump(mode="json", exclude_unset=True)
    return {**agent.model_dump(mode="json"), "budget": budget}


def opened(settings: Settings) -> AbstractAsyncContextManager[Runs]:
    """Open the database that the settings name. Raises `SetupError` if it is to be encrypted and there is no key."""
    return Runs.open(settings.db, cipher=cipher_of(settings))


def cipher_of(settings: Settings) -> Cipher | None:
    """Return what encrypts all that runs say, if the settings want that. Raises `SetupError` if there is no key."""
    return Cipher.from_environment() if settings.encrypt else None
