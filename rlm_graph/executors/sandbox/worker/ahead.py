"""Calls that a loop will make, begun before the loop comes to them.

The code runs as it is written, and is given the same answers at the same places: a call that was begun is known by its
content, as every call is. What is foreseen and does not happen, since the loop ends early, has been paid for in vain.
"""

from __future__ import annotations

import ast
import builtins
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from rlm_graph.executors.sandbox.frames import Frame
from rlm_graph.executors.sandbox.worker.context import Pieces
from rlm_graph.executors.sandbox.worker.loops import ASKS, MARK, Loop
from rlm_graph.executors.sandbox.worker.pure import FAILURES, MAX_CHARS, Pure, Unsure

MAX_AHEAD = 32
"""Calls of a cell that are begun and not used, at most."""
_VALUES: tuple[type, ...] = (
    list, tuple, range, dict, set, frozenset, str, Pieces, type({}.items()), type({}.keys()), type({}.values()),
)  # fmt: skip
"""Going over one of these does nothing else."""

Wait = Callable[[], Frame]
Asked = dict[str, Any]
"""The arguments of a call to a model."""


class Begun:
    """The calls of a cell that are begun and not used, in the order of the code."""

    def __init__(self) -> None:
        self._waits: deque[tuple[bytes, int, Wait]] = deque()
        self.coming: Iterator[Asked] | None = None
        """What the loop that runs will ask next; None if no loop does, or what it asks is not foreseen."""

    def __len__(self) -> int:
        return len(self._waits)

    def clear(self) -> None:
        """Forget them: another cell runs."""
        self._waits.clear()
        self.coming = None

    @property
    def ids(self) -> list[int]:
        """The ids of the calls."""
        return [number for _, number, _ in self._waits]

    def add(self, key: bytes, number: int, wait: Wait) -> None:
        """Note a call that was begun, by its content."""
        self._waits.append((key, number, wait))

    def take(self, key: bytes) -> Wait | None:
        """Return what waits for the first call of that content, which the code makes now; None if it is not begun.

        A loop that asks in another order than was foreseen is left alone from then on.
        """
        for place, (of, _, wait) in enumerate(self._waits):
            if of == key:
                del self._waits[place]
                return wait
        self.coming = None
        return None


class Looking:
    """Stands before what a loop goes over, in the code that runs: `looking @ values`."""

    def __init__(self, loop: Loop, names: dict[str, Any], ask: Any, begun: Begun, begin: Callable[[], None]) -> None:
        """`ask` is the function whose calls are begun, by `begin`."""
        self._loop = loop
        self._names = names
        self._ask = ask
        self._begun = begun
        self._begin = begin

    def __matmul__(self, values: Any) -> Any:
        """Return what the loop goes over: `values`, or as many elements that are the same."""
        return self._going_over(values) if self._is_foreseen(values) else values

    def _is_foreseen(self, values: Any) -> bool:
        if type(values) not in _VALUES:
            return False
        names = self._names
        changed = [names.get(name) for name in self._loop.mutated]
        if not all(type(each) in (list, dict, set) and each is not values for each in changed):
            return False
        if not all(name not in names and hasattr(builtins, name) for name in self._loop.builtins):
            return False
        function = self._loop.call.func
        return isinstance(function, ast.Name) and function.id in ASKS and names.get(function.id) is self._ask

    def _going_over(self, values: Any) -> Iterator[Any]:
        # It ends with the loop, by an exception too: nothing else holds it.
        coming = self._begun.coming = self._foreseen(values)
        try:
            self._begin()
            yield from values
        finally:
            if self._begun.coming is coming:
                self._begun.coming = None

    def _foreseen(self, values: Any) -> Iterator[Asked]:
        """Yield the arguments of the loop's calls, as far as they are certain."""
        loop = self._loop
        pure = Pure(self._names, frozenset(id(self._names.get(name)) for name in loop.mutated | loop.stored))
        try:
            for number, value in enumerate(values, loop.first or 0):
                pure.own.clear()
                pure.bind(loop.target, value if loop.first is None else (number, value))
                for name, expression in loop.before:
                    pure.own[name] = pure.value(expression)
                yield _asked(loop.call, pure)
        except FAILURES:
            return


def _asked(call: ast.Call, pure: Pure) -> Asked:
    given = {"prompt": call.args[0]} if call.args else {}
    given.update({str(each.arg): each.value for each in call.keywords})
    asked = {name: pure.value(expression) for name, expression in given.items()}
    prompt = asked.get("prompt")
    if not isinstance(prompt, str) or len(prompt) > MAX_CHARS:
        raise Unsure
    return {name: value for name, value in asked.items() if value is not None}


def with_looking(code: types.CodeType, looking: list[Looking]) -> types.CodeType:
    """Return code with what stands before its loops, in the place of the constants that mark them."""
    marks = {f"{MARK}{index}": each for index, each in enumerate(looking)}
    constants = tuple([marks.get(each, each) if type(each) is str else each for each in code.co_consts])
    return code.replace(co_consts=constants)
