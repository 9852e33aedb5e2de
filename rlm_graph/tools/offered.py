"""What a model is given that calls tools instead of writing code in its replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel

from rlm_graph.models import tool_options
from rlm_graph.tools.functions import HostFunction

SUBCALLS = {"rlm_sub_complete": "llm_query", "rlm_batch_complete": "llm_query_batched"}
"""The host's function behind each tool that asks sub-models."""


@dataclass(frozen=True)
class OfferedTools:
    """The tools of one agent: `python`, `final_answer`, the sub-calls, and the run's own."""

    functions: Mapping[str, HostFunction]
    answer_schema: Mapping[str, Any] | None = None
    retrieval: HostFunction | None = None
    """The tool that answers `context_query`; without one there is no such argument."""

    @property
    def hosts(self) -> dict[str, str]:
        """The host's function by the name of each tool that runs outside of the REPL."""
        return {**SUBCALLS, **{function.offered_name: name for name, function in self.functions.items()}}

    @property
    def definitions(self) -> list[dict[str, Any]]:
        """All of them in OpenAI's form."""
        return [
            _PYTHON,
            self._final_answer(),
            self._subcall("rlm_sub_complete", _SUB_COMPLETE, "prompt", _TEXT),
            self._subcall("rlm_batch_complete", _BATCH_COMPLETE, "prompts", {"type": "array", "items": _TEXT}),
            *(function.openai for function in self.functions.values()),
        ]

    def options(self, model: BaseChatModel) -> dict[str, Any]:
        """Return what makes a request offer them. Raises `SetupError` if the model cannot call tools."""
        return tool_options(model, self.definitions)

    def _final_answer(self) -> dict[str, Any]:
        answer = dict(self.answer_schema or {})
        # References within a schema are written from its root.
        shared = {key: answer.pop(key) for key in ("$defs", "definitions") if key in answer}
        if self.answer_schema is None:
            answer = {"description": "The answer: a text, or any other value."}
        variable = {"type": "string", "description": "Name of a REPL variable that holds the answer, in its place."}
        return _tool("final_answer", _FINAL_ANSWER, {"answer": answer, "variable": variable}, (), **shared)

    def _subcall(self, name: str, description: str, first: str, kind: Mapping[str, Any]) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            first: kind,
            "max_tokens": {"type": "integer", "minimum": 1, "description": "The longest reply that is of use."},
            "system": {"type": "string", "description": "Instructions that go before the prompt."},
        }
        if self.retrieval is not None:
            words = f"What to ask `{self.retrieval.name}` first: what it finds is put before the prompt."
            parameters["context_query"] = {"type": "string", "description": words}
        return _tool(name, description, parameters, (first,))


def _tool(
    name: str, description: str, parameters: Mapping[str, Any], required: tuple[str, ...], **shared: Any
) -> dict[str, Any]:
    schema = {"type": "object", "properties": dict(parameters), "required": list(required), **shared}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


_TEXT = {"type": "string"}
_PYTHON = _tool(
    "python",
    "Run a cell of Python in the REPL that holds the input. Variables stay. You read what it prints and the value of "
    "its last expression.",
    {"code": {"type": "string"}},
    ("code",),
)
_FINAL_ANSWER = (
    "End the run with the answer, given as `answer` or as the `variable` that holds it. Call it alone, when the "
    "evidence is there."
)
_SUB_COMPLETE = "Ask a sub-model. It sees the prompt and nothing else, so put the text in."
_BATCH_COMPLETE = "Ask a sub-model many prompts at the same time; the replies come in their order."
