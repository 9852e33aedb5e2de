"""Where the answer goes, and what is said at the end."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlm_graph.cli.exits import Exit
from rlm_graph.cli.printing import command, encoded, printable, put, put_json, say, spent
from rlm_graph.errors import InputError, RLMError

if TYPE_CHECKING:
    from rlm_graph.budget import Usage
    from rlm_graph.state import Answer
    from rlm_graph.storage.runs import Run


@dataclass(frozen=True)
class Output:
    """What the user wants to see, and where."""

    json: bool = False
    file: Path | None = None
    quiet: bool = False
    verbose: bool = False
    stream: bool = False
    """Show what the model writes and what becomes of it, as it comes."""

    def check(self) -> None:
        """Raise `InputError` if the file could not be written in the end: to be known before anything is spent."""
        if self.file is None:
            if sys.stdout is None:
                raise InputError("standard output is closed; name a file with -o")
            return
        target = self.file.resolve()
        try:
            if (descriptor := _descriptor(self.file)) is not None:
                os.fstat(descriptor)
                return
            if target.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            if target.exists() and not os.access(target, os.W_OK):
                raise PermissionError(0, "no permission to write it")
            if not target.exists() or target.is_file():
                tempfile.TemporaryFile(dir=target.parent).close()
        except OSError as error:
            raise InputError(
                f"the answer cannot be written to {self.file}: {error.strerror}; name another -o"
            ) from error

    def spare(self, read: Iterable[Path]) -> None:
        """Raise `InputError` if the answer would be written over one of the files that are read for it."""
        if self.file is None or not self.file.is_file():
            return
        for path in read:
            if path.exists() and path.samefile(self.file):
                raise InputError(f"the answer would be written over its context, {self.file}; name another -o")

    def say(self, text: str) -> None:
        """Write a line to stderr unless the user wants none."""
        if not self.quiet:
            say(text)

    def report(self, run: Run, question: str, answer: Answer, usage: Usage) -> Exit:
        """Give out the answer to the question and what it took; return how the command ends.

        Raises `RLMError` if the answer cannot be written. It stays in the run.
        """
        try:
            self._give(run, question, answer, usage)
        except (OSError, RLMError) as error:
            words = f"{self.file} cannot be written: {error.strerror}" if isinstance(error, OSError) else str(error)
            raise RLMError(f"{words}; the answer is kept: {command(f'resume {run.id}')}") from error
        self.say(f"{spent(usage)} · run {run.id}")
        self.say(f"show it: {command(f'logs {run.id}')}")
        if answer.complete:
            return Exit.OK
        if answer.ceiling is None:
            say("the model gave no answer of the form that was asked for; this is the best it could say")
            return Exit.FAILED
        flag = "--" + answer.ceiling.removesuffix("_usd").removesuffix("_s").replace("_", "-")
        say(f"{answer.ceiling} reached: this is the best answer so far; go on: {command(f'resume {run.id} {flag} …')}")
        return Exit.BUDGET

    def _give(self, run: Run, question: str, answer: Answer, usage: Usage) -> None:
        if self.file is None:
            put_json(_record(run, question, answer, usage)) if self.json else put(answer.text, exact=True)
        elif self.json:
            import json

            write_whole(self.file, json.dumps(_record(run, question, answer, usage), indent=2).encode())
        else:
            write_whole(self.file, encoded(answer.text))


def _record(run: Run, question: str, answer: Answer, usage: Usage) -> dict[str, Any]:
    return {
        "run": run.id,
        "question": question,
        "answer": answer.value,
        "text": answer.text,
        "complete": answer.complete,
        "ceiling": answer.ceiling,
        "via": answer.via,
        "model": run.model,
        "usage": {
            **usage.model_dump(mode="json"),
            "tokens": usage.tokens,
            # What nobody knows the price of is unknown, never zero.
            "cost_usd": None if usage.unpriced_calls else usage.cost_usd,
            "known_cost_usd": usage.cost_usd,
        },
    }


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that at every moment it holds all of the old content or all of the new.

    What this process has open already, as `/dev/stdout`, is written to where it stands: somebody has redirected it to
    a file, perhaps to its end, and goes on writing there.
    """
    if (descriptor := _descriptor(path)) is not None:
        with open(os.dup(descriptor), "wb") as file:
            file.write(printable(data.decode("utf-8", "replace")).encode() if file.isatty() else data)
        return
    target = path.resolve()
    if target.exists() and not target.is_file():  # a device or a pipe cannot be replaced
        with target.open("wb") as file:
            file.write(printable(data.decode("utf-8", "replace")).encode() if file.isatty() else data)
        return
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, mode)
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise


def _descriptor(path: Path) -> int | None:
    """Return the descriptor of this process that the path is a name of, if it is one."""
    found = re.fullmatch(r"/dev/(stdout|stderr)|/(?:dev|proc/self)/fd/(\d+)", os.path.abspath(path))
    if found is None:
        return None
    return {"stdout": 1, "stderr": 2}[found[1]] if found[1] else int(found[2])


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
