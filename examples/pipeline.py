"""Retrieve → RLM → review: the agent as a step of a pipeline that has a state of its own.

python examples/pipeline.py [MODEL]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TypedDict

from langchain_core.language_models import BaseChatModel
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Checkpointer

from rlm_graph import AgentOptions, ContextRef, ContextStore, create_rlm_agent
from rlm_graph.testing import ScriptedModel


class Report(TypedDict, total=False):
    """The pipeline's state. The documents are not in it: a reference is."""

    topic: str
    documents: ContextRef
    finding: str
    verdict: str


def build(
    model: str | BaseChatModel, contexts: ContextStore, checkpointer: Checkpointer = None
) -> CompiledStateGraph[Report]:
    """Return the pipeline. Its checkpoints hold the agent's own, so a crash in the middle resumes in the middle."""
    agent = create_rlm_agent(model, options=AgentOptions(contexts=contexts))

    def retrieve(state: Report) -> Report:
        """Find documents on the topic; here, in the source of a package that every Python has."""
        folder = Path(json.__file__).parent
        found = {path.name: path.read_text("utf-8") for path in sorted(folder.glob("*.py"))}
        return {"documents": contexts.take(found)}

    async def research(state: Report) -> Report:
        """Let the agent read them, however long they are."""
        result = await agent.ainvoke({"question": f"What do the documents say on {state['topic']}?",
                                      "context": state["documents"]})  # fmt: skip
        return {"finding": result["answer"].text}

    def review(state: Report) -> Report:
        """Check that the finding names a document that was retrieved."""
        names = [path.name for path in Path(json.__file__).parent.glob("*.py")]
        return {"verdict": "accepted" if any(name in state["finding"] for name in names) else "rejected"}

    graph = StateGraph(Report)
    graph.add_node("retrieve", retrieve)
    graph.add_node("research", research)
    graph.add_node("review", review)
    graph.add_edge(START, "retrieve")
    graph.add_edge("retrieve", "research")
    graph.add_edge("research", "review")
    return graph.compile(checkpointer=checkpointer)


def scripted() -> ScriptedModel:
    """Stand for a model, so that the example runs without a key."""
    return ScriptedModel([
        "```repl\nhits = {name: text.count('NaN') for name, text in context.items()}\nprint(hits)\n```",
        "```repl\nbest = max(hits, key=hits.get)\nFINAL(f'{best} says most on it: {hits[best]} mentions')\n```",
    ])  # fmt: skip


async def main() -> None:
    """Run it once and print what each step found."""
    import tempfile

    model: str | BaseChatModel = sys.argv[1] if len(sys.argv) > 1 else scripted()
    with tempfile.TemporaryDirectory() as folder:
        pipeline = build(model, ContextStore(Path(folder)))
        async for step in pipeline.astream({"topic": "NaN"}, stream_mode="updates"):
            print(step)


if __name__ == "__main__":
    import asyncio

    asyncio.run(main())
