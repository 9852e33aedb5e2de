"""A run that waits for approval: what waits is shown, and what the user decided is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlm_graph.cli.output import Output
from rlm_graph.cli.printing import put_json, say
from rlm_graph.errors import InputError

if TYPE_CHECKING:
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
        of_whom = f" ({request.agent})" if request.agent else ""
        say(f"--- {number} of {len(requests)}: {request.function or 'code'}{of_whom} ---")
        say("\n\n".join(request.cells) if request.kind == "code" else request.preview)
    edit = "" if any(request.kind != "code" for request in requests) else " | --edit FILE"
    one = " [--call N]" if len(requests) > 1 else ""
    say(f"waits for approval; go on: rlm-graph resume {run} --approve | --reject [--reason TEXT]{edit}{one}")
