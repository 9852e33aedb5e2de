"""The runs that are recorded: what their model says, where each was stopped, and what is left of it to be asked.

A request is named by what it asks: one to a sub-model by its prompt, one of an agent by its question and the turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rlm_graph.testing import ScriptedCall, ScriptedReply, ScriptedRequest

DATA = Path(__file__).parents[1] / "data" / "recorded"
"""What `python -m tests.recorded.make` has written."""
VERSION = "0.1.0"
"""Of the code that wrote it."""
KEY = "0123456789abcdef0123456789abcdef"
"""What the encrypted databases are encrypted with."""
LANES = ("sqlite", "sqlite-encrypted", "postgres", "postgres-encrypted")
"""Where runs are recorded."""

FILES = {
    "well.txt": "The well holds water.\n" * 40,
    "pieces/one.txt": "a blue piece\n" * 10,
    "pieces/two.txt": "a red piece\n" * 10,
    "agents.toml": '[agents.reader]\ndescription = "reads"\nbudget = { max_turns = 5 }\n',
    "form.json": '{"type": "object", "properties": {"letters": {"type": "integer"}}, "required": ["letters"]}',
}
"""What lies in the folder where the runs are begun."""

End = Literal["answers", "killed", "waits", "stopped", "ceiling", "failed"]


@dataclass(frozen=True)
class Recorded:
    """A run, how it was begun and how it ended, for now or for good."""

    name: str
    question: str
    turns: Sequence[str | ScriptedReply]
    """Replies of the root model."""
    end: End
    answer: Any
    """What it answers, in the end."""
    left: Sequence[str] = ()
    """The requests that had not been answered when it was stopped, or whose answers were not recorded."""
    held: str = ""
    """The request under which it was killed or stopped."""
    replies: int = 0
    """Answers to calls that must be recorded before, where some are under way at once."""
    command: Sequence[str] = ()
    """What it is begun with, instead of `run` with the question."""
    flags: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    approvals: int = 0
    """Times that it was approved before it was left waiting."""

    @property
    def status(self) -> str:
        """How `rlm-graph logs` shows it."""
        ends: dict[End, str] = {"answers": "done", "waits": "waiting", "ceiling": "partial", "failed": "failed"}
        return ends.get(self.end, "interrupted")

    @property
    def begin(self) -> list[str]:
        """The command that begins it, without `rlm-graph`."""
        return [*(self.command or ("run", self.question)), "--thread", self.name, *self.flags]


def cells(*texts: str) -> str:
    """A reply that holds these cells."""
    return "\n".join(f"```repl\n{text}\n```" for text in texts)


def calls(*given: tuple[str, dict[str, Any]]) -> ScriptedReply:
    """A reply that calls tools."""
    return ScriptedReply("", tool_calls=[ScriptedCall(name, arguments) for name, arguments in given])


FINISHED = Recorded(
    "finished",
    "What is in the well?",
    [
        cells(
            "found = llm_query('finished one')\n"
            "child = rlm_query('Who drew the water?', context='a bucket')\n"
            "note = memory.remember('The well holds water.', 'well')\n"
            "print(found, child, len(context))"
        ),
        cells("half = len(context) // 2", "1 / 0"),
        cells("FINAL([found, child, half])"),
    ],
    "answers",
    answer=["answer to finished one", "answer to drawn with a bucket", 440],
    flags=("-c", "well.txt", "--memory"),
)
CEILING = Recorded(
    "ceiling",
    "How far is it?",
    [cells("far = llm_query('far one')\nprint(far)"), cells("print('far')"), "About a mile.", cells("FINAL(far)")],
    "ceiling",
    answer="answer to far one",
    left=["How far is it? 3", "How far is it? 4"],
    flags=("--max-turns", "2"),
)
WAITS_FOR_CODE = Recorded(
    "waits-for-code",
    "May it run?",
    [cells("x = llm_query('code one')"), cells("FINAL([x, llm_query('code two')])")],
    "waits",
    answer=["answer to code one", "answer to code two"],
    left=["code two"],
    flags=("--approve", "code"),
    approvals=1,
)
WAITS_FOR_CALLS = Recorded(
    "waits-for-calls",
    "May it ask?",
    [cells("x = llm_query('call one')"), cells("FINAL([x, *llm_query_batched(['call two', 'call three'])])")],
    "waits",
    answer=["answer to call one", "answer to call two", "answer to call three"],
    left=["call three", "call two"],
    flags=("--approve", "subcalls"),
    approvals=1,
)
CUT_OFF = (
    Recorded(
        "killed-in-cell",
        "Which pieces are blue?",
        [
            cells("first = llm_query('cell one')\nprint(first)"),
            cells(
                "batch = llm_query_batched(['cell two', 'cell three', 'cell four'])\nlast = llm_query('cell five')\n"
                "print(last)"
            ),
            cells("FINAL([first, *batch, last, sorted(context)])"),
        ],
        "killed",
        answer=[*(f"answer to cell {n}" for n in ("one", "two", "three", "four", "five")), ["one.txt", "two.txt"]],
        left=["cell four", "cell five", "Which pieces are blue? 3"],
        held="cell four",
        replies=3,
        flags=("-c", "pieces"),
    ),
    Recorded(
        "killed-in-child",
        "Which moons are there?",
        [
            cells(
                "inner = rlm_query('Name the inner moons.', context='Io', agent='reader')\n"
                "outer = rlm_query('Name the outer moons.', context='Callisto')"
            ),
            cells("import json\nFINAL([inner, *json.loads(outer)])"),
        ],
        "killed",
        answer=["answer to inner Io", "answer to outer one", "answer to dust", "answer to outer two", "Callisto"],
        left=["outer two", "Name the outer moons. 3", "Which moons are there? 2"],
        held="outer two",
        flags=("--config", "agents.toml"),
    ),
    Recorded(
        "killed-with-snapshot",
        "How many stones?",
        [
            cells("stones = [n * n for n in range(3)]\nfirst = llm_query('stone one')"),
            cells("stones.append(llm_query('stone two'))"),
            cells("FINAL([*stones, first, llm_query('stone three')])"),
        ],
        "killed",
        answer=[0, 1, 4, "answer to stone two", "answer to stone one", "answer to stone three"],
        left=["stone three"],
        held="stone three",
        variables={"RLM_SNAPSHOTS__AFTER_S": "0"},
    ),
    Recorded(
        "killed-with-form",
        "How many letters?",
        [
            cells("FINAL({'letters': llm_query('form one')})"),
            cells("FINAL({'letters': len(llm_query('form two'))})"),
        ],
        "killed",
        answer={"letters": 18},
        left=["form two"],
        held="form two",
        flags=("--schema", "form.json"),
    ),
    Recorded(
        "killed-calling-tools",
        "Which bells ring?",
        [
            calls(
                ("rlm_sub_complete", {"prompt": "bell one"}),
                ("python", {"code": "rung = llm_query('bell two')\nprint(rung)"}),
            ),
            calls(
                ("rlm_batch_complete", {"prompts": ["bell three", "bell four"]}),
                ("rlm_sub_complete", {"prompt": "bell five"}),
            ),
            calls(("python", {"code": "FINAL([rung, llm_query('bell six')])"})),
        ],
        "killed",
        answer=["answer to bell two", "answer to bell six"],
        left=["bell four", "Which bells ring? 3", "bell six"],
        held="bell four",
        replies=4,
        flags=("--protocol", "tools"),
    ),
    Recorded(
        "forked",
        "And in the other well?",
        [
            cells("other = llm_query('forked one')\nprint(other)"),
            cells("FINAL([found, child, other, llm_query('forked two')])"),
        ],
        "killed",
        answer=[
            "answer to finished one", "answer to drawn with a bucket", "answer to forked one", "answer to forked two",
        ],
        left=["forked two"],
        held="forked two",
        command=("fork", "finished", "--at", "1", "--question", "And in the other well?"),
    ),
    Recorded(
        "failed",
        "What has failed?",
        [cells("a = llm_query('failed one')\nprint(a)"), cells("FINAL(a)")],
        "failed",
        answer="answer to failed one",
        left=["What has failed? 2"],
        held="What has failed? 2",
    ),
    Recorded(
        "stopped",
        "Who has left?",
        [cells("a = llm_query('left one')\nprint(a)"), cells("FINAL([a, llm_query('left two')])")],
        "stopped",
        answer=["answer to left one", "answer to left two"],
        left=["left two"],
        held="Who has left? 2",
    ),
)  # fmt: skip
"""Those that were stopped at work: killed, by an error of the provider, or by Ctrl-C."""

RUNS = (FINISHED, CEILING, WAITS_FOR_CODE, WAITS_FOR_CALLS, *CUT_OFF)

_ENCRYPTED = {"finished", "waits-for-code", "killed-in-cell", "killed-in-child", "killed-with-snapshot", "forked"}
"""What is encrypted cannot be compressed: so not all are recorded there."""


def runs_in(lane: str) -> list[Recorded]:
    """The runs that are recorded in a lane, the first one first."""
    return [run for run in RUNS if not lane.endswith("encrypted") or run.name in _ENCRYPTED]


ASKED = "How deep is it?"
"""What the finished run is asked next; it is not recorded."""
BRANCHED = "What else is there?"
"""What a fork of it is asked."""

TURNS: dict[str, Sequence[str | ScriptedReply]] = {
    **{run.question: run.turns for run in RUNS},
    "Who drew the water?": [cells("FINAL(llm_query('drawn with ' + context))")],
    "Name the inner moons.": [cells("FINAL(llm_query('inner ' + context))")],
    "Name the outer moons.": [
        cells("seen = llm_query('outer one')\nprint(seen)"),
        cells("deep = rlm_query('Name the dust.', context='dust')\nlast = llm_query('outer two')"),
        cells("FINAL([seen, deep, last, context])"),
    ],
    "Name the dust.": [cells("FINAL(llm_query(context))")],
    ASKED: [cells("FINAL([found, len(context), llm_query('deep one'), [n['text'] for n in memory.recall('well')]])")],
    BRANCHED: [cells("FINAL([child, half, llm_query('else one')])")],
}
"""What each agent replies, by the question it is asked."""


def script(request: ScriptedRequest) -> str | ScriptedReply:
    """Answer one request."""
    name = label(request)
    if not is_turn(name):
        return f"answer to {name}"
    question, _, turn = name.rpartition(" ")
    turns = TURNS[question]
    return turns[min(int(turn), len(turns)) - 1]


def label(request: ScriptedRequest) -> str:
    """Name a request."""
    if not is_agents(request):
        return request.prompt
    begun: dict[str, int] = {}
    for place, message in enumerate(request.messages):
        if message["role"] == "user":
            for question in TURNS.keys() - begun.keys():
                if question in str(message["content"]):
                    begun[question] = place
    newest = max(begun, key=lambda question: begun[question])
    turn = 1 + sum(message["role"] == "assistant" for message in request.messages[begun[newest] :])
    return f"{newest} {turn}"


def is_turn(name: str) -> bool:
    """Whether a request of that name is a turn of an agent."""
    return name.rpartition(" ")[0] in TURNS


def is_agents(request: ScriptedRequest) -> bool:
    """Whether an agent thinks; a sub-model is given no instructions."""
    return any(message["role"] == "system" for message in request.messages)


def dialogue(request: ScriptedRequest) -> list[dict[str, Any]]:
    """What an agent has been told and has said, without the instructions."""
    return [message for message in request.messages if message["role"] != "system"]
