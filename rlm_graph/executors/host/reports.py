"""What a sandbox reports, checked field by field: code may have written any of it."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
)

from rlm_graph.bridge import in_thread
from rlm_graph.errors import ExecutorError
from rlm_graph.executors.sandbox.frames import MAX_DEPTH, MAX_REASON, Frame
from rlm_graph.executors.sandbox.readings import checked_readings
from rlm_graph.executors.sandbox.worker.handing import MAX_TEXTS
from rlm_graph.json_pieces import weight
from rlm_graph.state import CellError, FinalAnswer, Variable


class FromSandbox(BaseModel):
    """Strict, for it is untrusted; what a later version may add is passed over."""

    model_config = ConfigDict(strict=True, extra="ignore")


THREAD_CHARS = 1 << 18
"""Of a frame from which on it is read in a thread."""
FrameT = TypeVar("FrameT", bound=FromSandbox)

ReportedReadings = Annotated[dict[str, list[int]], AfterValidator(checked_readings)]
"""Of clocks, see `rlm_graph.executors.sandbox.readings`."""


class Past(FromSandbox):
    """A cell that the namespace holds the effects of."""

    number: PositiveInt
    branch: str


class Pong(FromSandbox):
    """Where the REPL is."""

    version: str
    failure: str | None
    generation: PositiveInt
    cells_done: NonNegativeInt
    past: list[Past]


class NamedText(FromSandbox):
    """A text among a call's arguments that is not there itself."""

    path: list[str | Annotated[int, Field(ge=0)]] = Field(min_length=1, max_length=MAX_DEPTH + 1)
    """Where it belongs. None stands there."""
    context: NonNegativeInt
    """The number of the context that it is a piece of; 0 for what was sent beside the call."""
    part: NonNegativeInt | None
    """Which text of the context; None for the context as a whole."""
    start: Annotated[int, Field(ge=0, lt=1 << 62)]
    """Its first byte in that text."""
    bytes: Annotated[int, Field(ge=0, lt=1 << 62)]
    chars: Annotated[int, Field(ge=0, lt=1 << 62)]


class SentSlice(FromSandbox):
    """Some of what was sent beside a call, in base64."""

    data: str


class ReportedCall(FromSandbox):
    """A call to the host that code makes."""

    id: PositiveInt
    function: str = Field(max_length=200)
    arguments: dict[str, JsonValue]
    nth: NonNegativeInt
    ahead: bool = False
    readings: ReportedReadings = {}
    texts: list[NamedText] = Field(default=[], max_length=MAX_TEXTS)
    sent: str | None = Field(default=None, max_length=64)
    """The SHA-256 of what was sent beside it."""
    sent_bytes: NonNegativeInt = 0

    def named(self) -> tuple[JsonValue, ...]:
        """Return what, besides the arguments, tells this call from others; nothing if it names no texts."""
        return ([text.model_dump() for text in self.texts], self.sent) if self.texts else ()


class Calls(FromSandbox):
    """Calls that a cell waits for."""

    cell: int
    calls: list[ReportedCall]


class Done(FromSandbox):
    """The end of a cell."""

    cell: int
    status: Literal["ok", "error", "final", "killed"]
    stdout: str
    stdout_chars: NonNegativeInt
    stderr: str
    stderr_chars: NonNegativeInt
    value: str | None
    error: CellError | None
    final: FinalAnswer | None
    calls: NonNegativeInt
    digest: str = Field(max_length=64)
    started_at: NonNegativeFloat
    cpu_s: NonNegativeFloat
    wall_s: NonNegativeFloat
    peak_memory_bytes: NonNegativeInt
    read_bytes: NonNegativeInt | None = None
    write_bytes: NonNegativeInt | None = None
    readings: ReportedReadings = {}


class Variables(FromSandbox):
    """The names that cells have bound."""

    variables: list[Variable]


class CellProgress(FromSandbox):
    """How far the code of a running cell is; `cell` is None if none runs."""

    cell: int | None
    calls: NonNegativeInt = 0
    still: bool = False
    turns: NonNegativeInt = 0
    answered: list[str] = []


class Snapshot(FromSandbox):
    """A copy of the namespace, or how one was taken in."""

    snapshot: str | None
    reason: str | None = Field(max_length=MAX_REASON)
    """Why there is none, or why it cannot be used."""


async def read_large(model: type[FrameT], frame: Frame) -> FrameT:
    """Read a frame that may be a large one, as `read` does: each of its values takes a call of Python's."""
    return await in_thread(read, model, frame) if weight(frame, THREAD_CHARS) >= THREAD_CHARS else read(model, frame)


def read(model: type[FrameT], frame: Frame) -> FrameT:
    """Read a frame as that report. Raises `ExecutorError` if it is none."""
    try:
        return model.model_validate(frame)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ExecutorError(f"the sandbox sent nonsense: {frame.get('ev')!r}: {where}: {first['msg']}") from None
