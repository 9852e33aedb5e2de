"""What is put into a sandbox: folders, the worker's bundle, a supervisor that runs as root, and contexts."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shlex
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from rlm_graph.errors import ExecutorError, SetupError
from rlm_graph.executors.e2b.cloud import asked
from rlm_graph.executors.e2b.relay import COMPLAINT_CHARS, ROOT
from rlm_graph.executors.host.bundle import bundle, file_name, version
from rlm_graph.executors.host.packing import Span, packed
from rlm_graph.executors.sandbox.supervisor.starting import CANNOT_CONFINE
from rlm_graph.settings import E2BSettings

if TYPE_CHECKING:
    from e2b import AsyncSandbox

HOME = '"${TMPDIR:-/tmp}"/rlm-graph'
"""For a shell: the folder of all that is ours. `repl`, `contexts` and `scratch` lie in it, the first two root's own."""
CONTEXTS_FOLDER = "../contexts"
"""Where the supervisor, which works in `repl`, finds contexts."""
PYTHON = 'env -i PATH="$PATH" PYTHONHASHSEED=0 LANG=C.UTF-8 python3'
"""For a shell. What a template has in its environment is not for the code of a model."""
START_S = 60.0
ALONE_S = 7 * 86_400.0
"""Seconds after which a supervisor ends by itself. E2B ends or pauses its sandbox long before."""
PROCESSES = 256
"""That code may start, threads included."""
SLOWEST = 100_000
"""Bytes a second at which a context must arrive."""

_FIRST_USER, _USERS = 20_000, 40_000
"""Users that templates hardly have."""


class SandboxFacts(NamedTuple):
    """What a sandbox has told of itself."""

    has_root: bool
    """Whether commands that ask for root run as root there."""
    memory_bytes: int
    home: str
    """The absolute path of `HOME`."""


async def start_supervisor(sandbox: AsyncSandbox, name: str, settings: E2BSettings) -> None:
    """Start the supervisor of a REPL in a fresh sandbox; return when it listens.

    Raises `SetupError` if the template does not serve.
    """
    facts = await _prepare(sandbox, _user(name))
    with asked("fill the sandbox"):
        await sandbox.files.write(f"{facts.home}/{file_name()}", bundle(), user=ROOT, use_octet_stream=True)
    given = shlex.quote(json.dumps(_supervisor_settings(facts, name, settings)))
    # Root is exempt from the limit, and the worker's user inherits it.
    limits = f"ulimit -c 0; ulimit -u {PROCESSES}; " if facts.has_root else "ulimit -c 0; "
    command = f"{limits}cd {HOME} && exec {PYTHON} -s -X utf8 {file_name()} supervise {given}"
    status, printed, complaint = await _first_line(sandbox, command)
    if status is None:
        return
    if status == CANNOT_CONFINE:
        complaint = "its kernel cannot confine the code: " + printed
    raise SetupError(
        f"E2B's template {settings.template!r} does not serve: {complaint or f'python3 ended with status {status}'}; "
        "name one that has python3, 3.9 or later, by `template`"
    )


def relay_command(silence_s: float) -> str:
    """Return the command, for a shell, that connects its input and output with the supervisor.

    It ends when it has heard nothing for `silence_s` seconds.
    """
    return f"cd {HOME} && exec {PYTHON} -S -s {file_name()} relay repl/control.sock {silence_s:g}"


async def upload(sandbox: AsyncSandbox, name: str, folder: Path) -> None:
    """Put a context where no user but root can read it. Its index comes last: where that is, the text is whole.

    Of a piece of another context only that is put there.
    """
    with contextlib.ExitStack() as files:
        try:
            start, size, index = packed(folder)
            text = files.enter_context(io.BufferedReader(Span(folder / "text", start, size)))
            opened: list[tuple[str, IO[bytes]]] = [("text", text), ("index.json", io.BytesIO(index))]
        except OSError as error:
            raise ExecutorError(f"there is no context in {folder}: {error.strerror}") from error
        home = (await _said(sandbox, f"cd {HOME} && pwd")).strip()
        for each, file in opened:
            try:
                async with asyncio.timeout(START_S + size / SLOWEST):
                    with asked("take the context"):
                        await sandbox.files.write(f"{home}/contexts/{name}/{each}", file, user=ROOT)
            except TimeoutError as error:
                raise ExecutorError(
                    f"the context ({size:,} bytes) did not reach E2B in time; look at the network, then resume the run"
                ) from error


async def _prepare(sandbox: AsyncSandbox, user: int) -> SandboxFacts:
    """Make the folders, and learn what the sandbox is like."""
    answer = await _said(
        sandbox,
        f"umask 022; mkdir -p {HOME} && cd {HOME} && mkdir -p -m 700 repl contexts scratch && "
        f'if [ "$(id -u)" = 0 ]; then chown {user}:{user} scratch; fi && '
        'read -r _ kilobytes _ < /proc/meminfo && printf "\\n%s %s %s\\n" "$(id -u)" "$kilobytes" "$PWD"',
    )
    try:
        user_id, kilobytes, home = answer.strip().splitlines()[-1].split(maxsplit=2)
        return SandboxFacts(user_id == "0", int(kilobytes) << 10, home)
    except (ValueError, IndexError) as error:
        raise ExecutorError(f"the sandbox answered nonsense: {answer[-200:]!r}") from error


def _supervisor_settings(facts: SandboxFacts, name: str, settings: E2BSettings) -> dict[str, object]:
    given: dict[str, object] = {
        "foreground": True, "folder": f"{facts.home}/repl", "scratch_folder": f"{facts.home}/scratch",
        "version": version(), "memory_bytes": settings.memory_bytes or facts.memory_bytes // 8 * 7,
        "max_output_bytes": settings.max_output_bytes, "idle_timeout_s": ALONE_S,
        "network": settings.allow_internet, "bash": settings.bash,
    }  # fmt: skip
    # A server may have no root for us. The kernel must then be able to confine the worker, as on one's own machine.
    return given | {"user": _user(name)} if facts.has_root else given


def _user(name: str) -> int:
    """Return the worker's user: another for each REPL, for a server's sandboxes may share a kernel."""
    return _FIRST_USER + int(name, 16) % _USERS


async def _said(sandbox: AsyncSandbox, command: str) -> str:
    """Run a short command as root, and return what it prints."""
    with asked("run a command in the sandbox"):
        return (await sandbox.commands.run(command, user=ROOT, timeout=START_S)).stdout


async def _first_line(sandbox: AsyncSandbox, command: str) -> tuple[int | None, str, str]:
    """Start a command as root that goes on by itself, and wait until it prints a line.

    Returns its status if it ends instead, else None; and the last lines of its two outputs.
    """
    from e2b import CommandExitException

    printed, complaints = [""], [""]
    line = asyncio.Event()

    def take(text: str) -> None:
        printed[0] = (printed[0] + text)[-COMPLAINT_CHARS:]
        if "\n" in printed[0]:
            line.set()

    def complain(text: str) -> None:
        complaints[0] = (complaints[0] + text)[-COMPLAINT_CHARS:]

    with asked("start the supervisor"):
        # Without a limit on its time: by default the command ends after a minute.
        handle = await sandbox.commands.run(
            command, background=True, user=ROOT, timeout=0, on_stdout=take, on_stderr=complain, retain_output=False
        )
    ended, begun = asyncio.create_task(handle.wait()), asyncio.create_task(line.wait())
    try:
        await asyncio.wait({ended, begun}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        status: int | None = None
        if ended.done():
            try:
                with asked("start the supervisor"):
                    ended.result()
                status = 0
            except ExecutorError as error:
                if not isinstance(error.__cause__, CommandExitException):
                    raise
                status = error.__cause__.exit_code
        elif not begun.done():
            raise ExecutorError(f"the supervisor did not start within {START_S:g} s; resume the run to try again")
    finally:
        for task in (ended, begun):
            task.cancel()
        await asyncio.gather(ended, begun, return_exceptions=True)
        await handle.disconnect()
    return status, _last(printed[0]), _last(complaints[0])


def _last(text: str) -> str:
    return "".join(text.strip().splitlines()[-1:])
