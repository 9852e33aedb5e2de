"""A reply that was broken off: what is whole in it is taken, what its end may have hurt is not.

Readers of replies forgive much: a fence that nothing closes is code, the last line is the answer. Of a reply that was
cut, either may be half of what the model meant. So the reply is read with a mark after its end: what the mark gets into
reaches to the end of the reply, and so may lack its own.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from langchain_core.messages import AIMessage

from rlm_graph.parsing.content import content_text
from rlm_graph.parsing.reading import parse
from rlm_graph.parsing.reply import Reply

MARK = "rlm_graph_end_of_what_came"
"""A name of Python's, so that code without a fence is still read as code."""


def parse_broken_off(message: AIMessage, *, problem: str, variables: Collection[str] = ()) -> Reply:
    """Read what is whole in a reply that was broken off. `problem` says, to the model, what happened to it.

    Cells that are whole run, and `problem` is told with their output. An answer counts only if it has its end. Where
    neither is left, `problem` is the reply's problem. Tool calls whose arguments could not be read are not made. Pure,
    and without exceptions, as `parse`.
    """
    text = content_text(getattr(message, "content", ""))
    below, beside = (
        parse(message.model_copy(update={"content": text + gap + MARK, "invalid_tool_calls": []}), variables=variables)
        for gap in ("\n", "")
    )
    cells = tuple(cell for cell in below.cells if MARK not in cell.code)
    if cells:
        return Reply(cells=cells, notes=(*below.notes, problem), text=below.text.removesuffix(MARK).rstrip())
    is_whole = below.final is not None and not any(
        reading.final is not None and MARK in json.dumps(reading.final.value, ensure_ascii=False)
        for reading in (below, beside)
    )
    if is_whole and not below.cells:
        return Reply(final=below.final, text=below.text)
    return Reply(problem=problem, text=below.text.removesuffix(MARK).rstrip())
