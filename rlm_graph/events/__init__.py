"""What a run tells while it is under way, in LangGraph's stream mode `custom`.

    for _, event in agent.stream({"question": "..."}, stream_mode="custom", subgraphs=True):
        match event:
            case OutputEvent(): print(event.stdout)

With `subgraphs=True`, what code's calls and children tell comes too; without, only what the agent itself does. What a
call was answered from the record, after a crash, is not told again; a turn that is taken up again is. Texts are cut to
`MAX_CHARS` characters.

A reader who is slow holds the run back: LangGraph takes no further step until it has read what the last one told.
Within a step, such as a cell with a thousand calls, events wait in memory.
"""

from __future__ import annotations

from rlm_graph.events.ids import call_of as call_of
from rlm_graph.events.types import MAX_CHARS as MAX_CHARS
from rlm_graph.events.types import AnswerEvent as AnswerEvent
from rlm_graph.events.types import BudgetEvent as BudgetEvent
from rlm_graph.events.types import CallEvent as CallEvent
from rlm_graph.events.types import CellEvent as CellEvent
from rlm_graph.events.types import Event as Event
from rlm_graph.events.types import OutputEvent as OutputEvent
from rlm_graph.events.types import SubcallEvent as SubcallEvent
from rlm_graph.events.types import TurnEvent as TurnEvent
