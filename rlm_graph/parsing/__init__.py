"""A model's reply → cells to run, or a final answer, or one correction.

`parse` reads whatever models write and never raises. What it decides where a reply can be read in two ways:

- Code runs before anything is believed. A prose `FINAL(...)` in a reply that holds code is not taken, for the model has
  not seen what its code prints. A prose `FINAL_VAR(x)` after the code is taken, as a last cell `FINAL_VAR("x")`: its
  value comes from the REPL.
- Output that the model invents (an `output` fence, `<tool_response>`, a line `Output:`) ends what is read: the cells
  after it rest on something that did not happen. They are dropped, with a note for the model. Output before the first
  cell is a quotation and drops nothing.
- Drafts (`<think>` and its kin) are not read, whatever they hold. A closing tag without an opening one ends a draft
  that began with the reply, as servers leave it whose prompt ends in `<think>`. A draft that begins a line and is never
  closed takes the rest of the reply: nothing tells its code from code that was meant.
- A block quote is quoted material. So is inline code. Neither is read.
- Code that does not parse is a cell all the same: it runs, and the model reads the `SyntaxError`.
- A fence without a language is a cell if it is Python that does something; other languages are not run.
"""

from __future__ import annotations

from rlm_graph.parsing.broken_off import parse_broken_off
from rlm_graph.parsing.reading import parse
from rlm_graph.parsing.reply import Reply, ToolRequest
from rlm_graph.parsing.tool_calls import answerable, parse_tool_calls

__all__ = ["Reply", "ToolRequest", "answerable", "parse", "parse_broken_off", "parse_tool_calls"]
