"""A run that waits for approval: what waits is shown, and what the user decided is read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlm_graph.cli.output import Output
from rlm_graph.cli.printing import command, put_json, say
from rlm_graph.errors import InputError

if TYPE_CHECKING:
    from rlm_graph.approval import ApprovalRequest
    from rlm_graph.runs.decisions import Verdict, Waiting


def verdict_of(
    *, approve: bool, reject: bool, reason: str | None, edit: Path | None, call: int | None
) -> Verdict | None:
    """Read the flags; None if none was given. Raises `InputError` if they do not go together."""
    from rlm_graph.approval import Decision
    from rlm_graph.runs.decisions import Verdict

    given = [approve, reject, edit is not None]
    if sum(given) > 1:
        raise InputError("--approve, --reject and --edit exclude one another; give one of them")
    if reason is not None and not reject:
        raise InputError("--reason goes with --reject")
    if not any(given):
        if call is not None:
            raise InputError("--call N goes with --approve or --reject")
        return None
    try:
        code = None if edit is None else (edit.read_text("utf-8"),)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--edit {edit}: {getattr(error, 'strerror', None) or 'not text in UTF-8'}") from error
    return Verdict(decision=Decision(approve=not reject, reason=reason or "", edit=code), number=call)


def show(run: str, waiting: Sequence[Waiting], output: Output) -> None:
    """Show what waits, as text that no terminal obeys, and say how to go on."""
    requests = [one.request for one in waiting]
    if output.json:
        put_json(
            {"run": run, "status": "waiting", "waiting": [request.model_dump(mode="json") for request in requests]}
        )
    for number, request in enumerate(requests, start=1):
        say(f"--- {number} of {len(requests)}: {heading(request)} ---")
        say(body(request))
    edit = "" if any(request.kind != "code" for request in requests) else " | --edit FILE"
    one = " [--call N]" if len(requests) > 1 else ""
    words = command(f"resume {run} --approve | --reject [--reason TEXT]{edit}{one}")
    say(f"waits for approval; go on: {words}")


def heading(request: ApprovalRequest) -> str:
    """Return in a line what kind of thing waits, and what the code wants for it."""
    wants = [f"{name} {value}" for name, value in request.budget.items()]
    words = [request.agent, request.model, *wants]
    named = ", ".join(word for word in words if word)
    return f"{request.function or 'code'}{f' ({named})' if named else ''}"


def body(request: ApprovalRequest) -> str:
    """Return what waits: the code, or the head of the prompt."""
    return "\n\n".join(request.cells) if request.kind == "code" else request.preview


def can_ask(output: Output) -> bool:
    """Tell whether somebody is there who can decide: the command is read and written to on a terminal."""
    return not output.json and all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def ask(waiting: Sequence[Waiting]) -> Verdict | None:
    """Show the first thing that waits and ask for a decision; None if the user puts it off."""
    from rlm_graph.approval import Decision
    from rlm_graph.runs.decisions import Verdict

    first, request = waiting[0], waiting[0].request
    more = f", {len(waiting)} wait" if len(waiting) > 1 else ""
    say(f"--- waits for approval{more}: {heading(request)} ---")
    say(body(request))
    may_edit = request.kind == "code"
    while True:
        say(f"Let it happen? y: yes, n: no{', e: edit it first' if may_edit else ''}, q: not now")
        match _typed():
            case "y" | "yes":
                return Verdict(decision=Decision(), id=first.id)
            case "n" | "no":
                say("Why not? The model reads it; it may be empty:")
                return Verdict(decision=Decision(approve=False, reason=_typed(whole=True) or ""), id=first.id)
            case "e" | "edit" if may_edit:
                code = _edited(body(request))
                if code is not None:
                    return Verdict(decision=Decision(edit=(code,)), id=first.id)
            case "q" | None:
                return None


def _typed(*, whole: bool = False) -> str | None:
    """Return what the user has typed; None at the end of the input, as after Ctrl-D, and after Ctrl-C."""
    try:
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        return None
    if not line:
        return None
    return line.strip() if whole else line.strip().lower()


def _edited(code: str) -> str | None:
    """Have the user edit the code in their editor; None if that did not come to pass."""
    import os
    import shlex
    import shutil
    import subprocess
    import tempfile

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or shutil.which("nano") or shutil.which("vi")
    if not editor:
        say("no editor: set EDITOR, or put it off with q and give the code with --edit FILE")
        return None
    with tempfile.TemporaryDirectory(prefix="rlm-graph-") as folder:
        file = Path(folder) / "cell.py"
        file.write_text(f"{code}\n", "utf-8", "surrogatepass")
        try:
            # On the terminal, where standard output may be a file that the answer goes to.
            done = subprocess.run([*shlex.split(editor), str(file)], stdout=sys.stderr.fileno(), check=False)
            edited = file.read_text("utf-8")
        except (OSError, ValueError) as error:
            say(f"{editor}: {error}")
            return None
    if done.returncode:
        say(f"{editor} ended with {done.returncode}; nothing was taken from it")
        return None
    return edited
