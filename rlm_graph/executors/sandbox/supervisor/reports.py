"""What a worker replies to a job, checked and cut to size; and the ends of cells, made to fit into a frame."""

from __future__ import annotations

from typing import Any

from rlm_graph.executors.sandbox.frames import MAX_REASON, Frame, FrameError, encode
from rlm_graph.executors.sandbox.supervisor.cell_run import BadFrame
from rlm_graph.executors.sandbox.supervisor.process import STREAMS
from rlm_graph.executors.sandbox.worker.preview import MAX_NAME_CHARS, MAX_VARIABLES, PREVIEW_CHARS

FITTING_CHARS = 1 << 17
"""Of each stream, in a frame that would else be too long."""

_TEXTS = {"name": MAX_NAME_CHARS, "type": MAX_NAME_CHARS, "preview": PREVIEW_CHARS}


def checked_reply(job: Frame, frame: Frame) -> Frame:
    """Return what the client who asked for `job` is replied, without what the job does not ask for.

    Raises `BadFrame` for what no worker of ours replies.
    """
    reason = frame.get("error", frame.get("reason"))
    if not (reason is None or isinstance(reason, str)):
        raise BadFrame("a reply with a reason that is no text")
    reason = reason and reason[:MAX_REASON]
    if "error" in frame:
        return failed_reply(job, reason or "it failed")
    if job["op"] in ("vars", "check"):
        return {"variables": checked_variables(frame.get("variables"))}
    if job["op"] == "snapshot":
        return {"snapshot": _checked_snapshot(frame.get("snapshot"), job["max_bytes"]), "reason": reason}
    return {"snapshot": None, "reason": reason} if job["op"] == "restore" else {}


def failed_reply(job: Frame, reason: str) -> Frame:
    """Return the reply to a job that came to nothing: `error` where there is no other way to say so."""
    if job["op"] in ("vars", "check"):
        return {"variables": []}
    if job["op"] in ("snapshot", "restore"):
        return {"snapshot": None, "reason": reason[:MAX_REASON]}
    return {"error": reason[:MAX_REASON]}


def checked_variables(listed: Any) -> list[Frame]:
    """Return a list of variables, which code may have forged. Raises `BadFrame`."""
    if not isinstance(listed, list) or len(listed) > MAX_VARIABLES:
        raise BadFrame("a list of variables that is none")
    return [_checked_variable(variable) for variable in listed]


def fitting_line(told: Frame) -> bytes:
    """Return the frame that tells of a cell's end, encoded; without some of its output, or its answer, if it must be.

    JSON takes six bytes for a control character, so what was within its limits may be too long together.
    """
    try:
        return encode(told)
    except FrameError:
        shorter = {**told, **{stream: _cut(told[stream]) for stream in STREAMS}}
    try:
        return encode(shorter)
    except FrameError as error:
        problem = f"the cell's end cannot be told: {error}"[:MAX_REASON]
        told_error = {"type": "ValueError", "message": problem, "line": None, "traceback": ""}
        status = "error" if told["status"] == "final" else told["status"]
        return encode({**shorter, "status": status, "value": None, "final": None, "error": told_error})


def _checked_variable(variable: Any) -> Frame:
    if not isinstance(variable, dict) or not all(isinstance(variable.get(key), str) for key in _TEXTS):
        raise BadFrame("a variable without a name")
    size = variable.get("size")
    if size is not None and not (type(size) is int and 0 <= size < 1 << 63):
        raise BadFrame("a variable of a size that there is not")
    return {**{key: variable[key][:limit] for key, limit in _TEXTS.items()}, "size": size}


def _checked_snapshot(snapshot: Any, max_bytes: int) -> str | None:
    if snapshot is None:
        return None
    if not isinstance(snapshot, str) or not snapshot.isascii() or len(snapshot) > (max_bytes + 2) // 3 * 4:
        raise BadFrame("a snapshot that is larger than was said")
    return snapshot


def _cut(text: str) -> str:
    if len(text) <= FITTING_CHARS:
        return text
    half = FITTING_CHARS // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters cut ...]\n{text[-half:]}"
