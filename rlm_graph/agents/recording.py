"""What the record of a run needs: of the saver, of how LangGraph is told to use it, and of who answers an interrupt."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.types import Command, Interrupt

from rlm_graph.errors import SetupError
from rlm_graph.langgraph_internals import durability_of, is_shallow, names_interrupts

ASKED_AGAIN = "if its process died, it would ask again, and pay for, all that was answered"


def check_saver(saver: object) -> None:
    """Raise `SetupError` if a saver records too little for a run to be taken up again."""
    if isinstance(saver, BaseCheckpointSaver) and is_shallow(saver):
        name = type(saver).__name__
        raise SetupError(
            f"{name} keeps the last checkpoint of a run alone, and nothing of what led to it: {ASKED_AGAIN}. Give "
            f"{name.replace('Shallow', '')}"
        )


def durable(
    saver: BaseCheckpointSaver[Any] | None, options: dict[str, Any], config: RunnableConfig | None
) -> dict[str, Any]:
    """Return what LangGraph is told of how to record, `durability="sync"` unless the caller has said otherwise.

    Raises `SetupError` if the saver or the durability would record nothing while a step is under way. What a larger
    graph around the agent was told cannot be changed here: for that there is a `RuntimeWarning`.
    """
    if saver is None:  # nothing is recorded, and LangGraph would wait for it
        return {name: value for name, value in options.items() if name != "durability"}
    check_saver(saver)
    asked = options.get("durability")
    if asked == "exit" or options.get("checkpoint_during") is False:
        how = "durability='exit'" if asked == "exit" else "checkpoint_during=False"
        raise SetupError(
            f"{how} would record nothing of the run before it has answered: {ASKED_AGAIN}. Leave it out, and each "
            "answer is recorded as it comes"
        )
    if durability_of(config) == "exit":
        warnings.warn(
            "the graph around the agent runs with durability='exit', which records nothing before its end: "
            f"{ASKED_AGAIN}. Run it with durability='sync'",
            RuntimeWarning,
            stacklevel=3,
        )
    return options if asked is not None or "checkpoint_during" in options else {**options, "durability": "sync"}


def answers_one(given: Any) -> bool:
    """Tell whether an input resumes a run with a plain value, which names no interrupt."""
    return isinstance(given, Command) and given.resume is not None and not names_interrupts(given.resume)


def addressed(given: Any, waiting: Sequence[Interrupt]) -> Any:
    """Return the input for a run in which these interrupts wait.

    A plain value answers the first of them, and the others go on waiting: LangGraph takes it only where one waits.
    """
    if len(waiting) < 2:
        return given
    return Command(**{**vars(given), "resume": {waiting[0].id: given.resume}})
