"""The two streams of a relay that E2B runs in a sandbox.

Its agent there keeps no output that nobody reads, and takes input in requests of their own. So a stream that breaks is
not mended: another relay is started, and the supervisor is asked again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from rlm_graph.errors import RLMError
from rlm_graph.executors.e2b.cloud import SandboxGone, asked

if TYPE_CHECKING:
    from e2b import AsyncCommandHandle, AsyncSandbox

ROOT = "root"
INPUT_BYTES = 1 << 20
"""Of one request. The agent writes all of it to the relay before it replies."""
UNSENT_BYTES = 1 << 20
COMPLAINT_CHARS = 4096
END_S = 5.0
"""Seconds that a relay has to take what is still unsent, and then to end."""


async def open_relay(
    sandbox: AsyncSandbox, command: str, *, instead_of: RelayInput | None = None
) -> tuple[RelayOutput, RelayInput]:
    """Start a relay as root, and return its output and input. Raises `SandboxGone`, or as `asked` does.

    The one that it is `instead_of` is ended first, if it could not be told before: its sandbox was paused, perhaps.
    """
    if instead_of is not None and instead_of.runs:
        with asked("end a command in the sandbox"):
            await sandbox.commands.kill(instead_of.pid)
    output = RelayOutput()
    with asked("start a command in the sandbox"):
        handle = await sandbox.commands.run(
            command, background=True, user=ROOT, stdin=True, timeout=0,
            on_stdout=output.take, on_stderr=output.complain, retain_output=False,
        )  # fmt: skip
    return output, RelayInput(handle, output)


class RelayOutput:
    """What the relay prints, which is ASCII."""

    def __init__(self) -> None:
        self.received = 0
        """Bytes so far."""
        self._data = bytearray()
        self._news = asyncio.Event()
        self._complaints = ""
        self._ended = False
        self._reason = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    async def read(self, n: int) -> bytes:
        """Return some of the output, none at its end. Raises `ConnectionError` if the relay or the way to it broke."""
        while not self._data and not self._ended:
            self._news.clear()
            await self._news.wait()
        data = bytes(self._data[:n])
        del self._data[:n]
        if not data and self._reason:
            raise ConnectionError(self._reason)
        return data

    def take(self, text: str) -> None:
        """Add what was printed."""
        # What is no ASCII is no frame either: whoever reads it says so.
        data = text.encode("utf-8", "replace")
        self.received += len(data)
        self._data += data
        self._news.set()

    def complain(self, text: str) -> None:
        """Add what was printed for a person to read."""
        self._complaints = (self._complaints + text)[-COMPLAINT_CHARS:]

    def end(self, reason: str = "") -> None:
        """End it, because of `reason` or else of what the relay complained."""
        if not self._ended:
            last = self._complaints.strip().splitlines()[-1:]
            self._ended, self._reason = True, reason or "".join(last)
        self._news.set()


class RelayInput:
    """What the relay is sent. What is written while a request is under way goes together in the next one."""

    def __init__(self, handle: AsyncCommandHandle[None], output: RelayOutput) -> None:
        self.pid = handle.pid
        """Of the relay, in its sandbox."""
        self.runs = True
        """Whether the relay may run still, heard or not."""
        self._handle = handle
        self._output = output
        self._unsent = bytearray()
        self._room = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self._watching = asyncio.create_task(self._watch())
        self._closed = False

    def write(self, data: bytes) -> None:
        """Take bytes to be sent."""
        if self._output.ended or self._closed:
            return
        self._unsent += data
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def drain(self) -> None:
        """Wait until more can be taken. Raises `ConnectionError` if nothing can be any more."""
        while len(self._unsent) > UNSENT_BYTES and not self._output.ended:
            self._room.clear()
            await self._room.wait()
        if self._output.ended:
            raise ConnectionError("the relay has ended")

    def close(self) -> None:
        """Take nothing more."""
        self._closed = True

    async def wait_closed(self) -> None:
        """Send what is unsent, if that is soon done, and end the relay."""
        if self._sending is not None and not self._output.ended:
            await asyncio.wait({self._sending}, timeout=END_S)
        for task in (self._sending, self._watching):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self.kill()
        self._output.end("the relay was left")
        await self._handle.disconnect()

    async def kill(self) -> None:
        """End the relay, if it still runs and can be reached: else it ends by itself, for it hears nothing more."""
        if not self.runs:
            return
        with contextlib.suppress(OSError, RLMError), asked("end a command in the sandbox"):
            async with asyncio.timeout(END_S):
                await self._handle.kill()
                self.runs = False

    async def _send(self) -> None:
        try:
            while self._unsent:
                block = bytes(self._unsent[:INPUT_BYTES])
                del self._unsent[:INPUT_BYTES]
                with asked("write to the sandbox"):
                    await self._handle.send_stdin(block)
                self._room.set()
        except (SandboxGone, RLMError) as error:
            self._output.end(str(error))
        finally:
            self._room.set()

    async def _watch(self) -> None:
        """Tell the output when the relay has ended, or cannot be heard any more."""
        from e2b import CommandExitException

        reason = ""
        try:
            with asked("hear the sandbox"):
                await self._handle.wait()
        except (SandboxGone, RLMError) as error:
            # A command that ends with a status is heard to the end.
            reason = "" if isinstance(error.__cause__, CommandExitException) else str(error)
        except Exception as error:  # the SDK has no type of its own for a stream that ends before the command
            reason = str(error)
        self.runs = self._handle.exit_code is None
        self._output.end(reason)
        self._room.set()
