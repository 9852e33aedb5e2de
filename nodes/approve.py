"""Approve: let a human look at the code before it runs."""

from __future__ import annotations

from rlm_graph.approval import Approval, ApprovalRequest
from rlm_graph.channels import RLMState, RLMUpdate
from rlm_graph.state import Cell


async def approve(state: RLMState, *, approval: Approval, agent: str = "") -> RLMUpdate:
    """Show the pending cells and go by the decision: run them, run others in their place, or tell the model why not.

    `agent` is the specialist that wrote them, if one did. The run pauses here for as long as it takes; the process
    may end in between.
    """
    if not state["cells"]:
        return {}
    cells = tuple(cell.code for cell in state["cells"])
    decision = approval.decide(ApprovalRequest(kind="code", agent=agent, cells=cells))
    if not decision.approve:
        reason = f": {decision.reason}" if decision.reason else ""
        return {
            "cells": [],
            "native": [],
            "problem": f"Your code was not run, because the user rejected it{reason}. Go another way.",
        }
    if decision.edit is not None:
        return {
            "cells": [Cell(code=code) for code in decision.edit],
            "notes": [*state["notes"], "The user edited your code before it ran; what ran is shown."],
        }
    return {}
