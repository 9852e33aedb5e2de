"""What a checkpoint holds: handles and small values, never a context and never a live object.

The channels that hold them are those of `rlm_graph.channels`. Nothing of LangGraph is imported here: to read runs takes
no more than these values.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

from pydantic import Field, JsonValue, NonNegativeInt, PrivateAttr

from rlm_graph import notebook
from rlm_graph.budget import Budget, Ceiling, Usage
from rlm_graph.typed_answer import TypedAnswer
from rlm_graph.value import CheckpointValue, Value


class ContextRef(CheckpointValue):
    """Where a long input lies. Equal content has an equal `sha256`, whatever it was called."""

    sha256: str
    """Of the stored form; also the name of its folder in the context store."""
    kind: Literal["str", "list", "dict"]
    """What `context` is in the REPL: one text, a list of texts, or texts by name (for a folder: by path)."""
    chars: NonNegativeInt
    """Characters of all texts together."""
    bytes: NonNegativeInt
    """Bytes of all texts together, in UTF-8."""
    parts: NonNegativeInt = 1
    """How many texts there are."""
    longest: NonNegativeInt = 0
    """Characters of the longest text."""
    source: str = ""
    """What the caller named: a path, a URL or nothing."""
    notes: tuple[str, ...] = ()
    """What was done to it on the way in, such as a fallback encoding."""


class ReplHandle(Value):
    """The name of a REPL that outlives the process which started it."""

    kind: str
    """The executor it belongs to."""
    id: str
    """Unique among the REPLs of all runs."""
    address: str
    """Where the executor finds it: a socket's path, a container's id."""
    worker_version: str
    """Digest of the supervisor and worker that run in it."""


class Cell(CheckpointValue):
    """A piece of code to run."""

    code: str
    language: Literal["python", "bash"] = "python"


class CellError(CheckpointValue):
    """An exception in a cell, as the model reads it."""

    type: str
    message: str
    line: int | None = None
    """Line in the cell's code, from 1."""
    traceback: str = ""
    """Cut to the frames in cells."""


class KeptValue(Value):
    """Where the value of a large answer lies: in the store of contexts, see `rlm_graph.context.kept_answers`."""

    ref: ContextRef
    form: Literal["text", "json"]


class FinalAnswer(CheckpointValue):
    """What the code gave as the answer."""

    value: JsonValue
    """The value, or its `repr` where JSON has no form for it."""
    exact: bool = True
    """False if `value` is a `repr`."""
    via: Literal["FINAL", "FINAL_VAR", "answer"] = "FINAL"
    kept: KeptValue | None = None
    """Where the value lies, if it is too large for a checkpoint; `value` is then the beginning of it."""
    _whole: FinalAnswer | None = PrivateAttr(default=None)
    """The answer with its value, in the process that was given it."""


class Execution(CheckpointValue):
    """What became of one cell."""

    number: int
    """The cell's number in its run, from 1."""
    code: str
    language: Literal["python", "bash"] = "python"
    status: Literal["ok", "error", "final", "killed"]
    """`killed`: the cell ended with its REPL, which lost its variables."""
    stdout: str = ""
    stdout_chars: NonNegativeInt = 0
    """Characters printed; `stdout` holds the head and the tail if it is shorter."""
    stderr: str = ""
    stderr_chars: NonNegativeInt = 0
    value: str | None = None
    """`repr` of the last expression, as a notebook shows it."""
    error: CellError | None = None
    final: FinalAnswer | None = None
    calls: NonNegativeInt = 0
    """Host calls that it made."""
    digest: str = ""
    """Of its output and calls: a replay that differs has diverged."""
    started_at: float = 0.0
    """Unix seconds at which it first started; a replay is told the same."""
    cpu_s: float = 0.0
    """Of processor time. In a container, of all that runs in it."""
    wall_s: float = 0.0
    """Seconds, without those spent waiting for host calls."""
    peak_memory_bytes: NonNegativeInt = 0
    """The most that the REPL has held at once up to the end of the cell."""
    read_bytes: NonNegativeInt | None = None
    """From disks, as `write_bytes`; None where the executor does not count it."""
    write_bytes: NonNegativeInt | None = None
    readings: dict[str, list[int]] = Field(default_factory=dict)
    """What it read of clocks, for a replay: see `rlm_graph.executors.sandbox.readings`. Runs of versions that did not
    keep it have none."""


class Variable(CheckpointValue):
    """A name in the REPL, as `SHOW_VARS` and the observation show it."""

    name: str
    type: str
    size: int | None = None
    preview: str = ""


class CallSummary(CheckpointValue):
    """One call that code made. What was answered stands in the call's own record."""

    cell: int | None = None
    """The cell that made it, 0 if the model made it itself; None if it was answered before a crash of the host that the
    cell outlived."""
    function: str
    agents: tuple[str, ...] = ()
    """The specialists that were asked."""
    requests: NonNegativeInt = 1
    """Prompts of a batch; else 1."""
    failed: NonNegativeInt = 0
    """How many of them were answered with an error."""
    usage: Usage = Usage()
    record: str = ""
    """The name of the call's own record below the turn's namespace; empty in runs of older versions."""
    prompts: tuple[str, ...] = ()
    """How the first of its prompts begin, for those who look at the run."""
    prompt_chars: tuple[NonNegativeInt, ...] = ()
    """How long these are as a whole."""


class PendingToolCall(CheckpointValue):
    """A tool call of the model's own, which has not been answered yet."""

    id: str
    name: str
    function: str = ""
    """The host's function that answers it; empty for a call that asks for a cell."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    cell: int | None = None
    """Index in the pending cells of the one that it asks for."""
    problem: str | None = None
    """Why it is not made."""


class ToolCallAnswer(CheckpointValue):
    """What a tool call of the model's own was answered."""

    id: str
    text: str = ""
    """What it returned, cut to what the model reads of it; empty where a cell's output is the answer."""
    cell: int | None = None
    """The number of that cell."""
    failed: bool = False


class NativeCall(PendingToolCall):
    """The name under which version 0.1.0 stored a `PendingToolCall`, and which its checkpoints still say.

    What is made by this name is a `PendingToolCall`. A class, for serializers and LangGraph's reading of the state's
    schema know types by the module and name of their class, and return a dict for any that they do not know.
    """

    def __new__(cls, **fields: Any) -> Any:
        return _renamed(PendingToolCall, fields)


class NativeAnswer(ToolCallAnswer):
    """The name that a `ToolCallAnswer` had in version 0.1.0, as `NativeCall` is that of a `PendingToolCall`."""

    def __new__(cls, **fields: Any) -> Any:
        return _renamed(ToolCallAnswer, fields)


def _renamed(kind: type[CheckpointValue], fields: dict[str, Any]) -> CheckpointValue:
    # Without fields, `model_construct` and copies ask for an object which they fill themselves.
    return kind(**fields) if fields else kind.__new__(kind)


class Turn(CheckpointValue):
    """One reply of the model that held code, and what its cells did."""

    number: int
    namespace: str
    """Checkpoint namespace of the act that ran it: its host calls are recorded beneath."""
    contexts: NonNegativeInt = 0
    """How many contexts the REPL had been given."""
    executions: tuple[Execution, ...] = ()
    calls: tuple[CallSummary, ...] = ()
    """In the order in which they were answered."""
    answers: tuple[ToolCallAnswer, ...] = ()
    """To the tool calls of a model that calls tools, in the order of the calls."""
    variables: tuple[Variable, ...] = ()
    notes: tuple[str, ...] = ()
    """What the model must know besides: a rebuilt REPL, a replay that diverged."""


class SubcallReply(CheckpointValue):
    """What became of one call that code made: recorded, so that it is never made twice."""

    value: JsonValue = None
    """The sub-model's text, or what a tool returned."""
    error: str | None = None
    """Words of the error that the code sees instead."""
    error_type: str = "SubcallError"
    reason: Literal["cut", "filtered", "refused", "empty"] | None = None
    """Why the model's reply is no whole answer, if that is the error: see `rlm_graph.models.Ending`."""
    partial: str | None = None
    """The text of such a reply."""
    usage: Usage = Usage()
    arrival: NonNegativeInt = 0
    """Which of the answers to the calls of its cell it was, from 1; 0 if a version that did not count recorded it."""
    kept: KeptValue | None = None
    """Where the value, or without one the partial text, lies if it is too large for a checkpoint: its beginning stands
    in its place."""
    readings: dict[str, list[int]] = Field(default_factory=dict)
    """What the cells of its act had read of clocks since the answer that was recorded before: as those of an
    `Execution`, but each name begins with the cell's number."""
    _whole: SubcallReply | None = PrivateAttr(default=None)
    """The reply with its value, in the process that was given it."""


class Answer(CheckpointValue):
    """The end of a run."""

    value: JsonValue
    text: str
    """`value` as text: itself if it is one, else JSON."""
    complete: bool = True
    """False for the best that could be said when a ceiling was met."""
    ceiling: Ceiling | None = None
    """The ceiling that ended the run."""
    via: Literal["FINAL", "FINAL_VAR", "answer", "prose", "best effort"] = "FINAL"
    kept: KeptValue | None = None
    """Where the value lies, if it is too large for a checkpoint: callers never see that."""
    _whole: Answer | None = PrivateAttr(default=None)
    """The answer with its value, in the process that gave it."""

    @property
    def length(self) -> int:
        """Characters of the whole text."""
        return len((self._whole or self).text)

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        why = f": {self.ceiling} was reached" if self.ceiling else ""
        remark = "" if self.complete else f"<p><em>This answer is not complete{why}.</em></p>"
        return notebook.text(self.text) + remark


STORED_TYPES = (
    Answer, Budget, CallSummary, Cell, CellError, ContextRef, Execution, FinalAnswer, NativeAnswer, NativeCall,
    PendingToolCall, ReplHandle, SubcallReply, ToolCallAnswer, Turn, TypedAnswer, Usage,
    Variable,
)  # fmt: skip
"""Every type of ours that a checkpoint can hold, under each name that it has had. Serializers that want a list of
allowed types get this one."""

FROM_MESSAGE = "stood in a message"
"""What the first note of a context begins with that was taken out of a message."""


def __getattr__(name: str) -> Any:
    """Find the state that holds these values where it stood until LangGraph was left out of this module."""
    if name in ("GraphInput", "RLMInput", "RLMOutput", "RLMState", "RLMUpdate"):
        return getattr(import_module("rlm_graph.channels"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
