"""What the scripted model answers: by the trial that its name is of, and with a mark of which request it answers.

Equal prompts get answers that differ by their mark alone. So an answer that was given twice, lost or handed to another
call can be told from the one that belongs there, and everything without its marks is the same in every run.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

from rlm_graph.testing.script import ScriptedCall, ScriptedReply, ScriptedRequest, count_tokens, text_of
from tests.faults.fuse import Fuse
from tests.faults.scenarios import BY_NAME

MARK = re.compile(r"\[#(\d{6})\]")
TRIALS = "RLM_FAULTS_TRIALS"
"""The variable that tells the server the folder of all trials."""

_VARIES = re.compile(
    r"\[#\d{6}\]"
    r"|<clock [^>]*>"  # what a cell read of clocks and drew by chance
    r"|Left: .*"  # the seconds
    r"|Note: The REPL was restarted; your earlier cells were run again and their variables are back\.\n\n"
)


def plain(text: str) -> str:
    """Return `text` without what may differ between two runs that are both right."""
    return _VARIES.sub("", text)


def model_of(scenario: str, trial: str) -> str:
    """Return the name of the model that serves a trial: it says what to answer and whom an event is of."""
    return f"{scenario}-{trial}"


class Half(threading.Event):
    """Stands in the middle of a reply: counts it as an event, and holds nobody up."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    def wait(self, timeout: float | None = None) -> bool:
        self._fuse.happened("half a reply")
        return True


def script(request: ScriptedRequest) -> ScriptedReply:
    """Answer one request."""
    scenario, _, trial = request.model.rpartition("-")
    fuse = Fuse(Path(os.environ[TRIALS], trial))
    fuse.happened("request")
    answer, calls = _answer(scenario, request)
    text = f"{answer} [#{request.number:06}]"
    reply = ScriptedReply(
        text,
        tool_calls=calls,
        input_tokens=count_tokens(plain(request.text)),
        output_tokens=count_tokens(text),
        gate=Half(fuse),
    )
    return ScriptedReply(**{**vars(reply), "stall_after": len(reply.chunks) // 2})


def _answer(scenario: str, request: ScriptedRequest) -> tuple[str, list[ScriptedCall]]:
    roles = [message["role"] for message in request.messages]
    if "system" not in roles:
        return f"answer to {plain(request.prompt)}", []
    question = next(text_of(message["content"]) for message in request.messages if message["role"] == "user")
    turns = BY_NAME[scenario].turns_of(question)
    turn = turns[min(roles.count("assistant"), len(turns) - 1)]
    cells = [f"```repl\n{cell}\n```" for cell in turn if isinstance(cell, str)]
    return "\n\n".join(["So:", *cells]) + "\n", [call for call in turn if isinstance(call, ScriptedCall)]
