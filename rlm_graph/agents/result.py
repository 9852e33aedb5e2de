"""What a run returns."""

from __future__ import annotations

from typing import Any

from rlm_graph import notebook
from rlm_graph.budget import Usage
from rlm_graph.state import Answer


class RunResult(dict[str, Any]):
    """The output of a run, a dict with the keys of `RLMOutput`, which shows its answer in a notebook."""

    def _repr_html_(self) -> str:
        answer, usage = self.get("answer"), self.get("usage")
        if not isinstance(answer, Answer):
            waiting = len(self.get("__interrupt__", ()))
            words = f"No answer yet: {waiting} to be decided by a human." if waiting else "No answer yet."
            return notebook.text(words)
        shown = answer._repr_html_()
        return shown + usage._repr_html_() if isinstance(usage, Usage) else shown


def answer_of(result: Any) -> str:
    """Return the answer of a run in words, for a model that has asked for it."""
    value = getattr(result, "value", result)
    answer = value.get("answer") if isinstance(value, dict) else None
    if not isinstance(answer, Answer):
        return "There is no answer yet: the agent waits for a human to decide."
    if answer.complete:
        return answer.text
    why = f"{answer.ceiling} was reached" if answer.ceiling else "it does not have the form that was asked for"
    return f"{answer.text}\n\n(This answer is not complete: {why}.)"
