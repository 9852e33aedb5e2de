"""Host calls: functions that run on the host, seen from the code that calls them."""

from __future__ import annotations

import builtins
import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rlm_graph.executors.sandbox.frames import (
    MAX_BITS,
    MAX_DEPTH,
    MAX_VALUE,
    MAX_VALUE_ITEMS,
    Frame,
    count_items,
    fits_checkpoint,
    is_deep,
)
from rlm_graph.executors.sandbox.worker.ahead import MAX_AHEAD, Begun, Wait
from rlm_graph.executors.sandbox.worker.context import Pieces
from rlm_graph.executors.sandbox.worker.handing import Handed, handed

if TYPE_CHECKING:
    from rlm_graph.executors.sandbox.worker.texts import StoredContext

MAX_UNANSWERED = 500
"""Calls that may wait for an answer at once. A batch counts as one."""
MAX_CALLS = 100_000
"""Calls of one cell."""
MAX_BATCH = 2_000
"""Prompts of one call: the host keeps about 30 kB for each until all are answered."""

_FOR_EACH = ("prompts", "questions", "contexts", "agent")
"""Arguments of a batch that may list something for each of its items; the items themselves come first."""


class BudgetExceeded(RuntimeError):
    """The run has no budget left for this call. What was asked before stays answered."""


class SubcallError(RuntimeError):
    """A call to a model failed. Of a batch, `errors` has the failures by index and `results` what did succeed."""

    def __init__(
        self, message: str = "", *, errors: dict[int, Exception] | None = None, results: list[Any] | None = None
    ) -> None:
        super().__init__(message)
        self.errors = errors or {}
        self.results = results or []


class IncompleteReply(SubcallError):
    """A model's reply is no whole answer. `partial` is the text of it that there is.

    `reason` is `cut` (at the limit of tokens), `filtered` (by the provider), `refused` (by the model) or `empty`.
    """

    def __init__(self, message: str = "", *, partial: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.partial = partial
        self.reason = reason


for _error in (BudgetExceeded, SubcallError, IncompleteReply):
    _error.__module__ = "__main__"  # where code finds them, and so what tracebacks and pickles say


class Transport(Protocol):
    """Carries calls to the host. It is all that differs between a process, which has threads, and WebAssembly."""

    def post(self, call: Frame, sent: Iterable[bytes] = ()) -> Callable[[], Frame]:
        """Send a call, and before it the texts that go beside it, in pieces.

        What is returned waits for its answer: `{"value": …}` or `{"error": …, "error_type": …}`. A call that is begun
        ahead says so: `ahead`.
        """

    def may_begin_ahead(self) -> bool:
        """Whether calls may be begun ahead: several can be under way, and only the one who asks runs code."""


class _Call(NamedTuple):
    """A call that can be made."""

    function: str
    arguments: dict[str, Any]
    beside: Frame
    taken: Handed
    key: bytes
    """The digest of its content."""


class HostCalls:
    """Numbers the calls of a cell, and turns answers into values or exceptions. Threads may call at once."""

    def __init__(self, transport: Transport, *, readings: Callable[[], Frame] = dict) -> None:
        """`readings` returns what the code has read of clocks since it was asked before: each call tells of that."""
        self._transport = transport
        self._readings = readings
        self.contexts: dict[int, StoredContext] = {}
        """The contexts that code was given, by their numbers: a call may name pieces of them."""
        self._lock = threading.Lock()
        self._cell: int | None = None
        self._count = 0
        self._seen: dict[bytes, int] = {}
        self._unanswered = 0
        self._ahead = 0
        self.begun = Begun()
        """Calls that are begun and not used."""

    def open(self, cell: int, *, ahead: int = 0) -> None:
        """Let the cell of that number make calls, and so many be begun ahead of their use."""
        with self._lock:
            self._cell, self._count, self._seen = cell, 0, {}
            self._ahead = min(ahead, MAX_AHEAD)
            self.begun.clear()

    def close(self) -> None:
        """Let no more calls out: none can follow the end of its cell."""
        with self._lock:
            self._cell = None

    @property
    def begins_ahead(self) -> bool:
        """Whether the cell may begin calls ahead of their use."""
        return self._ahead > 0

    def ask(self, function: str, arguments: dict[str, Any]) -> Any:
        """Call the host and wait for its answer.

        Raises `TypeError` for arguments that are no JSON values, and the error that the host answers with.
        """
        call = self._call(function, arguments)
        with self._lock:
            if self._cell is None:
                raise RuntimeError(
                    f"{function}: no cell is running; a thread may call the host only while its cell runs"
                )
            begun = self.begun.take(call.key)
            if begun is None and self._waiting >= MAX_UNANSWERED:
                raise RuntimeError(f"{function}: {MAX_UNANSWERED} calls are waiting already; use a batch for many")
            if begun is None and self._count >= MAX_CALLS:
                raise RuntimeError(f"{function}: a cell can make {MAX_CALLS:,} calls; make the others in another one")
            wait = self._post(call) if begun is None else begun
            self._unanswered += 1
        try:
            if begun is not None:
                self.begin_ahead(beside=1)
            return _outcome(wait())
        finally:
            with self._lock:
                self._unanswered -= 1

    def begin_ahead(self, *, beside: int = 0) -> None:
        """Begin what the loop that runs will ask next: as much as may be under way `beside` what is waited for."""
        begun = self.begun
        while begun.coming is not None and len(begun) + beside < self._ahead and self._transport.may_begin_ahead():
            asked = next(begun.coming, None)
            try:
                call = None if asked is None else self._call("llm_query", asked)
            except (TypeError, ValueError):  # which the code will be told when it asks
                call = None
            if call is None:
                begun.coming = None
                return
            with self._lock:
                if self._cell is None or self._waiting >= MAX_UNANSWERED or self._count >= MAX_CALLS:
                    begun.coming = None
                    return
                wait = self._post(call, ahead=True)
                begun.add(call.key, self._count, wait)

    @property
    def _waiting(self) -> int:
        """How many calls may be unanswered."""
        return self._unanswered + len(self.begun)

    def _call(self, function: str, arguments: dict[str, Any]) -> _Call:
        """Return a call that can be made. Raises `TypeError` and `ValueError`."""
        arguments, texts, _ = taken = handed(arguments, self.contexts)
        text = _as_argument(function, arguments)
        beside: Frame = {"texts": texts, "sent": taken.digest()} if texts else {}
        said = json.dumps(beside) if texts else ""
        if texts and count_items(f"{text}{said}".encode("ascii"), MAX_VALUE_ITEMS) > MAX_VALUE_ITEMS:
            raise ValueError(f"{function}: the arguments hold too many values and long texts; ask in parts")
        named = f"{function}\0{text}\0{said}" if texts else f"{function}\0{text}"
        key = hashlib.sha256(named.encode("ascii", "backslashreplace")).digest()
        return _Call(function, arguments, beside, taken, key)

    def _post(self, call: _Call, *, ahead: bool = False) -> Wait:
        """Send the next call of the cell. The lock is held."""
        self._count += 1
        nth = self._seen.get(call.key, 0)
        self._seen[call.key] = nth + 1
        frame = {
            "id": self._count, "cell": self._cell, "function": call.function, "arguments": call.arguments, "nth": nth,
            **call.beside,
        }  # fmt: skip
        if readings := self._readings():
            frame["readings"] = readings
        if ahead:
            frame["ahead"] = True
        return self._transport.post(frame, call.taken.encoded())

    def ask_each(self, function: str, arguments: dict[str, Any], *, return_exceptions: bool) -> list[Any]:
        """Call the host with a batch, or with the parts of a long one in turn, and return a text for each item.

        An item that fails is an exception in the list if `return_exceptions`; else a `SubcallError` tells of all.
        """
        results: list[Any] = []
        errors: dict[int, Exception] = {}
        answered = (item for part in _parts(function, arguments) for item in self.ask(function, part))
        for index, item in enumerate(answered):
            if "error" in item:
                errors[index] = _exception(item, item.get("type"))
            results.append(errors.get(index, item.get("text")))
        if not errors or return_exceptions:
            return results
        first = min(errors)
        others = f"; also {', '.join(f'#{index}' for index in sorted(errors)[1:20])}" if len(errors) > 1 else ""
        message = (
            f"{function}: {len(errors)} of {len(results)} failed: #{first}: {errors[first]}{others}. "
            "The others are in this error's .results; return_exceptions=True puts errors into the list instead"
        )
        kept = [None if index in errors else result for index, result in enumerate(results)]
        if all(isinstance(error, BudgetExceeded) for error in errors.values()):
            raise BudgetExceeded(message)
        raise SubcallError(message, errors=errors, results=kept)


def _parts(function: str, arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the arguments of a batch in parts of `MAX_BATCH` items: all arguments with something for each are lists."""
    each: dict[str, Sequence[Any]] = {
        name: value for name, value in arguments.items() if name in _FOR_EACH and isinstance(value, (list, Pieces))
    }
    count = len(next(iter(each.values()), ()))
    if count <= MAX_BATCH:
        yield arguments
        return
    for name, values in each.items():
        if len(values) != count:
            raise TypeError(f"{function}: {count} questions but {len(values)} {name}")
    for start in range(0, count, MAX_BATCH):
        yield {**arguments, **{name: values[start : start + MAX_BATCH] for name, values in each.items()}}


def _as_argument(function: str, arguments: dict[str, Any]) -> str:
    try:
        text = json.dumps(arguments, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"{function}: arguments must be JSON values (str, int, float, list, dict, …): {error}"
        ) from None
    if len(text) > MAX_VALUE:
        raise ValueError(f"{function}: the arguments take {len(text):,} bytes, more than {MAX_VALUE:,}; ask in parts")
    if count_items(text.encode("ascii"), MAX_VALUE_ITEMS) > MAX_VALUE_ITEMS:
        raise ValueError(f"{function}: the arguments hold more than {MAX_VALUE_ITEMS:,} values; ask in parts")
    if is_deep(arguments):
        raise TypeError(f"{function}: arguments nest deeper than {MAX_DEPTH}")
    _refuse_long_integers(function, arguments)
    return text


def _refuse_long_integers(function: str, value: Any) -> None:
    if isinstance(value, int) and not fits_checkpoint(value):
        raise TypeError(f"{function}: an integer of more than {MAX_BITS} bits; pass it as a str")
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    for item in items:
        _refuse_long_integers(function, item)


def _outcome(answer: Frame) -> Any:
    if answer.get("error") is None:
        return answer.get("value")
    raise _exception(answer, answer.get("error_type"))


def _exception(answer: Frame, name: Any) -> Exception:
    """Make the exception that the host named: ours, or one of Python's own."""
    message = answer["error"]
    if name == "IncompleteReply":
        partial = str(answer.get("partial") or "")
        told = f"{message}; its {len(partial):,} characters are in this error's .partial" if partial else message
        return IncompleteReply(str(told), partial=partial, reason=str(answer.get("reason") or ""))
    cls = {"BudgetExceeded": BudgetExceeded, "SubcallError": SubcallError}.get(name) or getattr(
        builtins, str(name), None
    )
    if isinstance(cls, type) and issubclass(cls, Exception):
        try:
            return cls(str(message))
        except TypeError:  # one that wants more than a message
            pass
    return SubcallError(str(message))
