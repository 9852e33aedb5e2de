"""Running a cell as a notebook does: names stay, the last expression is shown, errors carry their line."""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import traceback
import types
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from rlm_graph.executors.sandbox.worker.ahead import with_looking
from rlm_graph.executors.sandbox.worker.loops import find_loops
from rlm_graph.executors.sandbox.worker.namespace import Ended, Namespace
from rlm_graph.executors.sandbox.worker.preview import bare_name, plain, shorten, show
from rlm_graph.executors.sandbox.worker.shell import run_shell

if TYPE_CHECKING:
    import asyncio

VALUE_CHARS = 100_000
MESSAGE_CHARS = 4_000
TRACEBACK_CHARS = 20_000
MAX_LINE = 1 << 31
MAX_CHAIN = 1_000
"""Exceptions of which one traceback tells."""

_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())  # came with Python 3.11


class Cells:
    """Runs cells in one namespace.

    A cell's code is known by the file name `<cell N>`, so that tracebacks can show it. Later cells keep the
    `__future__` features of earlier ones, and one event loop serves all that await.
    """

    def __init__(self, namespace: Namespace, *, bash: bool = True) -> None:
        """Cells in the shell's language are refused unless `bash`."""
        self._namespace = namespace
        self._bash = bash
        self.flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        """For the compiler."""
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def has_awaited(self) -> bool:
        """Whether there is an event loop, which may hold tasks."""
        return self._loop is not None

    def run(self, number: int, code: str, language: str) -> dict[str, Any]:
        """Run a cell to its end and return `status`, `value`, `error` and `final`. Nothing that it raises escapes."""
        self._namespace.begin()
        error = value = None
        try:
            if language == "bash":
                run_shell(code, allowed=self._bash)
            else:
                result = self._run_python(number, code)
                value = None if result is None else show(result, VALUE_CHARS)
                self._namespace.take_answer()
        except Ended:
            pass
        except BaseException as raised:  # whatever code raises is for the model to read, SystemExit too
            error = describe(raised, number)
        final = self._namespace.final
        status = "final" if final is not None else "ok" if error is None else "error"
        return {"status": status, "value": value, "error": error if final is None else None, "final": final}

    def check(self) -> None:
        """Run something that changes nothing. Raises what the cells before have made of it."""
        flags, final = self.flags, self._namespace.final
        try:
            outcome = self._run_python(0, "0")
        finally:
            self.flags, self._namespace.final = flags, final
            linecache.cache.pop(file_name(0), None)
        if outcome != 0:
            raise RuntimeError("Python does not compute any more")

    def _run_python(self, number: int, code: str) -> Any:
        name = file_name(number)
        linecache.cache[name] = (len(code), None, source_lines(code), name)
        tree: ast.Module = compile(code, name, "exec", self.flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        looking = self._namespace.looking(find_loops(tree)) if self._namespace.begins_ahead else []
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        parts = [compile(tree, name, "exec", self.flags, dont_inherit=True)]
        self.flags |= parts[0].co_flags & _FUTURE
        if isinstance(last, ast.Expr):
            parts.append(compile(ast.Expression(last.value), name, "eval", self.flags, dont_inherit=True))
        if looking:
            parts = [with_looking(part, looking) for part in parts]
        for part in parts:
            self._namespace.look_at(part)
        if any(part.co_flags & inspect.CO_COROUTINE for part in parts):
            return self._wait_for(self._run_parts(parts))
        result = None
        for part in parts:
            result = eval(part, self._namespace.names)
        return result

    async def _run_parts(self, parts: list[types.CodeType]) -> Any:
        # All of a cell that awaits somewhere runs in the loop: what does not await may still make tasks.
        result = None
        for part in parts:
            result = eval(part, self._namespace.names)
            if part.co_flags & inspect.CO_COROUTINE:
                result = await result
        return result

    def _wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        import asyncio

        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        task = self._loop.create_task(coroutine)
        try:
            return self._loop.run_until_complete(task)
        except BaseException:
            # An interrupt leaves the task behind, and the next cell that awaits would go on with it.
            if not task.done():
                task.cancel()
                self._loop.run_until_complete(asyncio.wait([task]))
            raise


def prepare(names: dict[str, Any]) -> None:
    """Replace what needs somebody at the keyboard, and what would end the process, with what tells the model so."""

    def no_input(prompt: object = "") -> NoReturn:
        raise RuntimeError("input() has nobody to answer it; what you need is in `context` and the variables")

    def no_debugger(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("breakpoint() has nobody to use it; print what you want to see")

    def leave(code: object = None) -> NoReturn:
        raise SystemExit(code)

    replaced: dict[str, Callable[..., Any]] = {
        "input": no_input, "breakpoint": no_debugger, "exit": leave, "quit": leave,
    }  # fmt: skip
    for name, function in replaced.items():
        setattr(builtins, name, function)
    if not hasattr(builtins, "help"):  # where Python was started without `site`
        from _sitebuiltins import _Helper

        setattr(builtins, "help", _Helper())  # noqa: B010  # no checker knows that it may be missing
    names.setdefault("__builtins__", builtins)


def file_name(number: int) -> str:
    """Return the name under which tracebacks know the code of a cell."""
    return f"<cell {number}>"


def source_lines(code: str) -> list[str]:
    """Return the lines of a cell, as `linecache` has them."""
    # As the compiler counts them: `str.splitlines` also breaks at characters that end no line in Python.
    return [line + "\n" for line in code.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


def describe(raised: BaseException, number: int) -> dict[str, Any]:
    """Return an exception as `type`, `message`, `line` in cell `number`, and a traceback of the cells' frames.

    Its class may be the code's own, and fail or lie in any place.
    """
    name = bare_name(type(raised))
    return {
        "type": name,
        "message": shorten(_told(_message, raised, "its message cannot be shown"), MESSAGE_CHARS),
        "line": _line(raised, number),
        "traceback": shorten(_told(_traceback, raised, f"{name}: its traceback cannot be shown"), TRACEBACK_CHARS),
    }


def _told(tell: Callable[[BaseException], str], raised: BaseException, otherwise: str) -> str:
    try:
        return plain(tell(raised))
    except KeyboardInterrupt:  # meant for the cell
        raise
    except BaseException as error:
        return f"({otherwise}: {bare_name(type(error))})"


def _message(raised: BaseException) -> str:
    if issubclass(type(raised), SystemExit):
        code = show(_EXIT_CODE(raised), MESSAGE_CHARS)
        return f"{code}: the cell tried to leave Python. The REPL lives on; FINAL(...) gives the answer"
    if isinstance(raised, SyntaxError):
        return str(raised.msg)
    return str(raised)


def _traceback(raised: BaseException) -> str:
    if _is_long(raised):
        return f"(of more than {MAX_CHAIN} exceptions, which led to each other)\n{bare_name(type(raised))}: {raised}\n"
    told = traceback.TracebackException(type(raised), raised, _frames(raised))
    _keep_cells(told, set())
    return "".join(told.format())


def _line(raised: BaseException, number: int) -> int | None:
    name = file_name(number)
    if type(raised) in (SyntaxError, IndentationError, TabError) and _place(raised)[0] == name:
        line = _place(raised)[1]
        return line if type(line) is int and 0 < line < MAX_LINE else None
    frames = traceback.walk_tb(_frames(raised))
    return next((line for frame, line in reversed(list(frames)) if frame.f_code.co_filename == name), None)


def _place(raised: Any) -> tuple[Any, Any]:
    return raised.filename, raised.lineno


def _is_long(raised: BaseException) -> bool:
    """Whether so many exceptions led to it, or are in it, that to tell of them would take longer than a cell may."""
    seen: set[int] = set()
    pending: list[Any] = [raised]
    while pending and len(seen) <= MAX_CHAIN:
        error = pending.pop()
        if id(error) not in seen:
            seen.add(id(error))
            pending += [each for each in (_cause(error), _context(error)) if each is not None]
            if isinstance(error, _GROUP):
                pending += error.exceptions[: MAX_CHAIN + 1]
    return len(seen) > MAX_CHAIN


# A class may have put code in the place of the attributes themselves.
_cause: Callable[[BaseException], BaseException | None] = vars(BaseException)["__cause__"].__get__
_context: Callable[[BaseException], BaseException | None] = vars(BaseException)["__context__"].__get__
_EXIT_CODE: Callable[[BaseException], Any] = vars(SystemExit)["code"].__get__
_frames: Callable[[BaseException], types.TracebackType | None] = vars(BaseException)["__traceback__"].__get__


def _keep_cells(told: traceback.TracebackException, seen: set[int]) -> None:
    """Cut a traceback, and those of its causes, to the frames of cells."""
    seen.add(id(told))
    frames = [frame for frame in told.stack if frame.filename.startswith("<cell ")]
    told.stack = traceback.StackSummary.from_list(frames)
    for other in _linked(told):
        if id(other) not in seen:
            _keep_cells(other, seen)


def _linked(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    for other in (told.__cause__, told.__context__, *(getattr(told, "exceptions", None) or ())):
        if other is not None:
            yield other


def _future_flags() -> int:
    import __future__

    flags = 0
    for name in __future__.all_feature_names:
        flags |= getattr(__future__, name).compiler_flag
    return flags


_FUTURE = _future_flags()
