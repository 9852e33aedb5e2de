"""One run of a cell, as the supervisor keeps it: its clock, its calls, and what is told of it in the end."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

from rlm_graph.executors.sandbox.frames import (
    MAX_SENT_BYTES,
    MAX_VALUE,
    MAX_VALUE_ITEMS,
    Frame,
    count_items,
    encode,
    is_deep,
)
from rlm_graph.executors.sandbox.readings import MAX_READINGS, checked_readings
from rlm_graph.executors.sandbox.supervisor.metering import processor_time
from rlm_graph.executors.sandbox.supervisor.process import STREAMS, WorkerProcess
from rlm_graph.executors.sandbox.supervisor.sent_texts import SentTexts, are_texts
from rlm_graph.executors.sandbox.supervisor.stillness import is_still, turns_of_sleepers
from rlm_graph.executors.sandbox.worker.calls import MAX_CALLS, MAX_UNANSWERED

COALESCE_S = 0.002
GRACE_S = 1.0
"""Seconds that a cell has to end after it was interrupted at its deadline."""
LOOK_S, LONGEST_LOOK_S = 0.0003, 0.005
"""Seconds until the supervisor looks again whether the code is still: at first, and at most."""
SOON_S = 0.005
"""Seconds in which code that does little with an answer is still again."""
PATIENCE_CPU_S, LEAST_PATIENCE_CPU_S = 0.1, 0.005
"""Processor time that the code may use before it gets the next answer without having been still: at first, and at
least, if it never was of late. A machine that is busy does not shorten it."""
PATIENCE_S = 2.0
"""Seconds after which it gets the next answer in any case."""
MAX_HELD_ANSWER_BYTES = 64 << 20
"""Of the answers behind the one that is due next. Beyond it they are passed on whatever the code does, so that those
which it does not read are found out, and are not kept."""
CHECK_S = 10.0
"""Seconds that the interpreter has, after the end of a cell, to show that nothing which the cell left holds it."""
ANNOUNCE_BYTES, ANNOUNCE_ITEMS = 8 << 20, 100_000
"""Of calls in one frame, unless one alone is longer."""
MAX_TYPE_CHARS = 200
MAX_ERROR_CHARS = 110_000
"""Of each text that a worker tells of a cell's end: it cuts them itself to no more."""

_STATUSES = ("ok", "error", "final")


class BadFrame(ValueError):
    """The worker sent what no worker of ours sends: code has got hold of its channel."""


class CellRun:
    """A cell that runs. Its clock stands still while a call of it is unanswered."""

    def __init__(self, request: Frame, worker: WorkerProcess, *, folder: str) -> None:
        """`folder` takes what code sends beside calls."""
        self._folder = folder
        self._sent: dict[int, SentTexts] = {}
        """What came beside each call that is not answered, and what comes beside the next one."""
        self.number: int = request["cell"]
        self.branch = str(request.get("branch", ""))
        self.identity = identity(request)
        self.language = str(request["language"])
        self.timeout_s = float(request["timeout"])
        self.worker = worker
        self.started_at = request.get("started_at") or time.time()
        self.readings = dict(checked_readings(request.get("readings") or {}))
        """What its code has read of clocks: what was told to the worker, and what the worker has told since."""
        self.unanswered: dict[int, Frame] = {}
        self.held_bytes = 0
        """Of the arguments of unanswered calls."""
        self.held_items = 0
        """Values in the arguments of unanswered calls."""
        self.told: Frame | None = None
        """What the worker said of the end, until it is certain that the interpreter can go on."""
        self.announce_at: float | None = None
        """When calls that came just now are passed on (monotonic)."""
        self.timed_out = False
        self._sizes: dict[int, tuple[int, int]] = {}
        """Bytes and values of each unanswered call."""
        self._announced: set[int] = set()
        self._called: dict[int, str] = {}
        """Digests of the calls, by their ids."""
        self._begun: set[int] = set()
        """Unanswered calls that were begun ahead of their use."""
        self._begun_ahead: set[int] = set()
        """All of them, by their ids."""
        self._last_id = 0
        self._ran_s = 0.0
        self._since: float | None = time.monotonic()
        self._kill_at: float | None = None
        self._alone = False
        """Whether the last call came from a cell that has no other thread."""
        self._keys: dict[int, str] = {}
        self._given: list[str] = []
        self._held: dict[int, bytes] = {}
        """Frames with one answer each, by the ids of their calls, in the order in which they came."""
        self._held_answer_bytes = 0
        self._held_since = 0.0
        self._looked_at, self._look_s = 0.0, LOOK_S
        self._cpu_s, self._patience_cpu_s = 0.0, PATIENCE_CPU_S
        self._seen_cpu_s = 0.0
        self._check_by: float | None = None
        self._used_before = worker.used()
        self._used = self._used_before.since(self._used_before)

    def name(self) -> Frame:
        """Return what tells the cell from all others of the run that it belongs to."""
        return {"number": self.number, "branch": self.branch}

    def measure(self) -> None:
        """Read what the worker has used, while it is there."""
        self._used = self.worker.used().since(self._used_before)

    def add_text(self, frame: Frame) -> None:
        """Take in a part of what goes beside the call that comes next. Raises `BadFrame`."""
        number, data = frame["id"], base64.b64decode(frame["data"], validate=True)
        others = [call for call in self._sent if call > self._last_id and call != number]
        if type(number) is not int or number <= self._last_id or others:
            raise BadFrame("a text of no call")
        if sum(sent.size for sent in self._sent.values()) + len(data) > MAX_SENT_BYTES:
            raise BadFrame(f"texts of more than {MAX_SENT_BYTES:,} bytes")
        self._sent.setdefault(number, SentTexts(self._folder)).add(data)

    def text(self, call: int, start: int) -> str:
        """Return some of what came beside a call, in base64, from byte `start` on; nothing if it is answered."""
        return self._sent[call].slice(start) if call in self._sent else ""

    def add_call(self, frame: Frame) -> None:
        """Note a call that the code makes. Raises `BadFrame`."""
        call = _checked_call(frame)
        if call["id"] <= self._last_id:
            raise BadFrame(f"call {call['id']} came twice")
        if self.told is not None or len(self.unanswered) >= MAX_UNANSWERED or len(self._called) >= MAX_CALLS:
            raise BadFrame("more calls than can be made")
        told = self._take_readings(frame)
        self._last_id = call["id"]
        sent = self._sent.get(call["id"])
        if call.get("sent") != (None if sent is None else sent.digest):
            raise BadFrame("a call whose texts are others than were sent")
        if sent is not None:
            call["sent_bytes"] = sent.size
        content = json.dumps([call["function"], call["arguments"], call["nth"], *beside(call)], sort_keys=True)
        encoded = content.encode()
        items = count_items(encoded, MAX_VALUE_ITEMS)
        if len(encoded) > MAX_VALUE or items > MAX_VALUE_ITEMS:  # a number, say, can be longer as we write it
            raise BadFrame("a call that is larger than any can be")
        self._called[call["id"]] = hashlib.sha256(encoded).hexdigest()
        self._sizes[call["id"]] = len(encoded), items
        self.held_bytes += len(encoded)
        self.held_items += items
        self._keys[call["id"]] = call_key(self.number, call)
        self._alone = bool(frame.get("alone") or call.get("ahead"))
        if call.get("ahead"):
            self._begun.add(call["id"])
            self._begun_ahead.add(call["id"])
        self.unanswered[call["id"]] = {**call, "readings": told} if told else call
        self._stop_clock()
        if sent is not None and sent.failure is not None:  # the owner has nothing to answer
            self.hold([{"id": call["id"], "value": None, "error": sent.failure, "error_type": "OSError"}])
        elif self.announce_at is None:
            self.announce_at = time.monotonic() + (0.0 if frame.get("alone") else COALESCE_S)

    def announcements(self, *, again: bool = False) -> Iterator[Frame]:
        """Return frames that tell the owner of calls: those it has not been told of, or all that are unanswered."""
        self.announce_at = None
        unanswered = [call for call in self.unanswered.values() if call["id"] not in self._held]
        calls = [call for call in unanswered if again or call["id"] not in self._announced]
        while calls:
            together = [calls.pop(0)]
            size, items = self._sizes[together[0]["id"]]
            while calls:
                more = self._sizes[calls[0]["id"]]
                size, items = size + more[0], items + more[1]
                if size >= ANNOUNCE_BYTES or items >= ANNOUNCE_ITEMS:
                    break
                together.append(calls.pop(0))
            self._announced.update(call["id"] for call in together)
            yield {"ev": "calls", "cell": self.number, "calls": together}

    def hold(self, results: list[Frame]) -> None:
        """Take in answers, to be passed on in this order; those to calls already answered are dropped.

        Raises `FrameError` for one that no frame can say.
        """
        for result in results:
            if result["id"] in self.unanswered and result["id"] not in self._held:
                answer = {key: result.get(key) for key in ("id", "value", "error", "error_type")}
                answer |= {key: result[key] for key in ("reason", "partial") if key in result}
                line = encode({"op": "results", "results": [answer]})
                if not self._held:
                    self._begin_waiting(time.monotonic())
                self._held[result["id"]] = line
                self._held_answer_bytes += len(line)
                self._given.append(self._keys.pop(result["id"]))

    def passed_on(self, now: float) -> Iterator[bytes]:
        """Yield frames with the answers that the code is to be given now, one in each.

        Each is due when the code has done all that the answer before it has led to, so that the same answers in the
        same order lead to the same calls. Code that is never still is given them after a while, for it may be waiting
        for them in a loop, and at once what is more than is held.
        """
        while self._held and (self._holds_too_much() or self._is_due(now)):
            number, line = next(iter(self._held.items()))
            del self._held[number], self.unanswered[number]
            self._begun.discard(number)
            if number in self._sent:
                self._sent.pop(number).close()
            self._held_answer_bytes -= len(line)
            size, items = self._sizes.pop(number)
            self.held_bytes -= size
            self.held_items -= items
            self._begin_waiting(now)
            if not self.unanswered and self._since is None:
                self._since = now
            yield line

    def progress(self, *, answered: bool) -> Frame:
        """Tell how far the code is: the last call it made, and what it does; on demand the calls that are answered."""
        turns = turns_of_sleepers(self.worker.pid)
        heard = self.announce_at is None and not self._held and self.worker.link.is_quiet
        still = turns is not None and heard and turns == turns_of_sleepers(self.worker.pid)
        told: Frame = {"calls": self._last_id, "still": still, "turns": sum((turns or {}).values())}
        return {**told, "answered": self._given} if answered else told

    def _holds_too_much(self) -> bool:
        return self._held_answer_bytes - len(next(iter(self._held.values()))) > MAX_HELD_ANSWER_BYTES

    def _is_due(self, now: float) -> bool:
        # Its only thread waits for this answer, or comes to it later and finds it there.
        if self._alone and len(self.unanswered) - len(self._begun) <= 1:
            return True
        if now < self._looked_at + self._look_s:
            return False
        longer = LOOK_S if now - self._held_since < SOON_S else min(self._look_s * 2, LONGEST_LOOK_S)
        self._looked_at, self._look_s = now, longer
        used_s = processor_time(self.worker.pid)
        moved, self._seen_cpu_s = used_s != self._seen_cpu_s, used_s
        # While it runs, a look at each of its threads would be in vain.
        if not (moved and used_s) and self.worker.link.is_quiet and is_still(self.worker.pid):
            self._patience_cpu_s = PATIENCE_CPU_S
            return True
        busy = used_s - self._cpu_s >= self._patience_cpu_s
        if busy:
            self._patience_cpu_s = max(self._patience_cpu_s / 2, LEAST_PATIENCE_CPU_S)
        return busy or now - self._held_since >= PATIENCE_S

    def _begin_waiting(self, now: float) -> None:
        """Wait from now on until the code is still."""
        self._held_since, self._look_s = now, LOOK_S
        self._cpu_s = processor_time(self.worker.pid)

    def due(self) -> float | None:
        """When something has to be done about this run next (monotonic)."""
        if self.told is not None:
            return self._check_by
        times = [self.announce_at, self._kill_at]
        if self._held:
            times.append(self._looked_at + self._look_s)
        if self._since is not None and not self.timed_out:
            times.append(self._since + self.timeout_s - self._ran_s)
        return min((at for at in times if at is not None), default=None)

    def check_deadline(self, now: float) -> str | None:
        """Return `"interrupt"` when the time is up, `"kill"` when the code went on regardless.

        `"stuck"` when the code has ended and the interpreter does nothing all the same.
        """
        if self._check_by is not None:
            return "stuck" if now >= self._check_by else None
        if self._kill_at is not None:
            return "kill" if now >= self._kill_at else None
        if not self.timed_out and self._since is not None and self._ran_s + now - self._since >= self.timeout_s:
            self.timed_out = True
            self._kill_at = now + GRACE_S
            return "interrupt"
        return None

    def finish(self, frame: Frame) -> None:
        """Note in `told` what the owner is told of the end that the worker tells of. Raises `BadFrame`."""
        self.measure()
        status, error, final = frame.get("status"), frame.get("error"), frame.get("final")
        value = frame.get("value")
        if status not in _STATUSES or not (value is None or isinstance(value, str)):
            raise BadFrame("a cell ended in a way that none can")
        if (error is None) != (status != "error") or (final is None) != (status != "final"):
            raise BadFrame("a cell ended with an outcome that does not fit its status")
        if error is not None:
            error = self._timed(_checked_error(error))
        value = value and value[:MAX_ERROR_CHARS]
        if final is not None:
            final = _checked_final(final)
        self._take_readings(frame)
        # What was begun and not used is no part of what the code did.
        for number in self._begun_ahead.intersection(frame.get("unused", [])):
            del self._called[number]
        self.told = self._told(status, value=value, error=error, final=final)
        self.announce_at = self._kill_at = None
        self._check_by = time.monotonic() + CHECK_S

    def killed(self, kind: str, message: str) -> Frame:
        """Return what the owner is told when the cell ended with its worker, which has been stopped.

        An answer that the cell had given before holds.
        """
        error = {"type": kind, "message": message, "line": None, "traceback": ""}
        if self.told is not None:
            return {**self.told, "status": "killed", "value": None, "error": error}
        return self._told("killed", value=None, error=error, final=None)

    def _take_readings(self, frame: Frame) -> dict[str, list[int]]:
        """Add what a frame tells of clocks. Raises `BadFrame` if that is nothing, or more than a cell tells of."""
        left = MAX_READINGS - sum(map(len, self.readings.values()))
        try:
            told = checked_readings(frame.get("readings", {}), at_most=left)
        except ValueError as error:
            raise BadFrame(str(error)) from None
        if not self.readings.keys().isdisjoint(told):
            raise BadFrame("readings of clocks that were told before")
        self.readings.update(told)
        return told

    def _timed(self, error: Frame) -> Frame:
        if self.timed_out and error["type"] == "KeyboardInterrupt":
            message = (
                f"the cell computed for longer than {self.timeout_s:g} s and was interrupted; its variables remain"
            )
            return {**error, "type": "TimeoutError", "message": message}
        return error

    def _told(self, status: str, *, value: str | None, error: Frame | None, final: Frame | None) -> Frame:
        self._stop_clock()
        printed: dict[str, Any] = {}
        for stream in STREAMS:
            printed[stream], printed[f"{stream}_chars"] = self.worker.outputs[stream].take()
        outcome = [printed["stdout"], printed["stderr"], value, error and [error["type"], error["line"]], final]
        return {
            "ev": "done", "cell": self.number, "generation": self.worker.generation, "status": status, **printed,
            "value": value, "error": error, "final": final, "calls": len(self._called),
            "digest": hashlib.sha256(json.dumps([*outcome, sorted(self._called.values())]).encode()).hexdigest(),
            "started_at": self.started_at, "wall_s": round(self._ran_s, 6), "readings": self.readings,
            **self._used._asdict(),
        }  # fmt: skip

    def _stop_clock(self) -> None:
        if self._since is not None:
            self._ran_s += time.monotonic() - self._since
            self._since = None


def identity(request: Frame) -> str:
    """Return a digest of a cell's branch, language and code: the same cell has the same."""
    content = f"{request.get('branch', '')}\0{request['language']}\0{request['code']}"
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def call_key(cell: int, call: Frame) -> str:
    """Return the digest that names a call: its content, its cell, and how many equal calls that cell made before."""
    content = json.dumps(
        [cell, call["function"], call["arguments"], call["nth"], *beside(call)], sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(content.encode()).hexdigest()[:24]


def beside(call: Frame) -> list[Any]:
    """Return what belongs to the content of a call that names texts: where they lie, and what they are."""
    return [call["texts"], call.get("sent")] if call.get("texts") else []


def _checked_call(frame: Frame) -> Frame:
    function, arguments = frame.get("function"), frame.get("arguments")
    counts = [frame.get("id"), frame.get("nth")]
    if not (isinstance(function, str) and len(function) <= 200 and isinstance(arguments, dict)):
        raise BadFrame("a call without a function or arguments")
    if any("\ud800" <= character <= "\udfff" for character in function):
        raise BadFrame("a call of a function whose name is no text")
    if not all(type(count) is int and 0 <= count < 1 << 53 for count in counts):
        raise BadFrame("a call with numbers that are none")
    if is_deep(arguments):
        raise BadFrame("a call with arguments that nest too deep")
    call = {"id": frame["id"], "function": function, "arguments": arguments, "nth": frame["nth"]}
    if frame.get("ahead") is True:
        call["ahead"] = True
    if "texts" not in frame:
        return call
    texts, sent = frame["texts"], frame.get("sent")
    if not are_texts(texts) or not (sent is None or isinstance(sent, str)) or is_deep(texts):
        raise BadFrame("a call that names texts in another form")
    return {**call, "texts": texts, "sent": sent}


def _checked_error(error: Any) -> Frame:
    texts = ("type", "message", "traceback")
    if not isinstance(error, dict) or not all(isinstance(error.get(key), str) for key in texts):
        raise BadFrame("an error without words")
    line = error.get("line")
    if line is not None and type(line) is not int:
        raise BadFrame("an error in a line that is none")
    kept = {key: error[key][: MAX_TYPE_CHARS if key == "type" else MAX_ERROR_CHARS] for key in texts}
    return {**kept, "line": line}


def _checked_final(final: Any) -> Frame:
    if not isinstance(final, dict) or set(final) != {"value", "exact", "via"} or type(final["exact"]) is not bool:
        raise BadFrame("an answer of another form")
    if final["via"] not in ("FINAL", "FINAL_VAR", "answer"):
        raise BadFrame("an answer by a way that there is not")
    if is_deep(final["value"]):
        raise BadFrame("an answer that nests too deep")
    return final
