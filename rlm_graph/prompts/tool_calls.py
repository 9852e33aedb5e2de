"""What a model is told that calls tools: how to work, and what its calls returned."""

from __future__ import annotations

from collections.abc import Sequence

from rlm_graph.budget import Budget, Usage
from rlm_graph.prompts.observing import cell_report, cell_share, turn_report
from rlm_graph.prompts.quoting import visible
from rlm_graph.state import Turn

HOW_TO_REPLY = """\
You answer a question about an input that may be far too long to read. The input lies in a Python REPL. You see its \
size and what your calls return, never the whole.

## How to reply

Call tools:

- `python` runs a cell in the REPL: `print(ctx)`, then `print(ctx.slice(0, 1500))`. You read its output in the next \
message. Variables, functions and imports stay.
- `rlm_sub_complete` asks a sub-model, `rlm_batch_complete` asks it many prompts at once. For text that lies in the \
REPL use `llm_query_batched` in a cell instead: then you need not write the text down.
- `final_answer` ends the run. Call it alone, once the evidence settles the question; give the name of a variable for \
a long answer.
- Several calls of one reply are made at the same time; cells run in their order."""

EMPTY = "(nothing)"


def native_correction(problem: str) -> str:
    """Return a correction for a reply that called nothing."""
    return f"{problem}\n\nCall `python` with code such as `print(ctx)`, or, once you know the answer, `final_answer`."


def tool_messages(turn: Turn, *, budget: Budget, usage: Usage, max_chars: int) -> Sequence[tuple[str, str, bool]]:
    """Return for each tool call of a turn its id, what the model reads of it, and whether it failed.

    What belongs to the turn as a whole stands at the end of the last one.
    """
    share = cell_share(turn, max_chars)
    shown = {answer.cell for answer in turn.answers}
    executions = {execution.number: execution for execution in turn.executions}
    told = [
        (answer.id, visible(answer.text) if answer.cell is None else cell_report(executions[answer.cell], share))
        for answer in turn.answers
    ]
    # A human who approved the code may have put other cells in the place of those that were called.
    others = [cell_report(execution, share) for execution in turn.executions if execution.number not in shown]
    id, last = told[-1]
    whole = turn_report(turn, budget=budget, usage=usage)
    told[-1] = (id, "\n\n".join([last or EMPTY, *others, "---", *whole]))
    return [(id, text or EMPTY, answer.failed) for (id, text), answer in zip(told, turn.answers, strict=True)]
