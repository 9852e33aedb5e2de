"""Whether a process does nothing but wait, as the kernel counts it.

Source: proc_pid_status(5), for the fields `State`, `voluntary_ctxt_switches` and `nonvoluntary_ctxt_switches`.
"""

from __future__ import annotations

import os

ASLEEP = b"S"
_SWITCHES = (b"voluntary_ctxt_switches", b"nonvoluntary_ctxt_switches")


def is_still(pid: int) -> bool:
    """Tell whether there was a moment, just now, at which every thread of the process slept.

    Each thread is looked at twice. If all slept both times, and none was given a processor in between, all slept at
    the moment between the two rounds. True where the kernel does not tell.
    """
    before = turns_of_sleepers(pid)
    return before is not None and before == turns_of_sleepers(pid)


def turns_of_sleepers(pid: int) -> dict[str, int] | None:
    """Return how often each thread was given a processor and left it again; None if one of them does not sleep.

    Empty where the kernel does not tell.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:  # another system than Linux
        return {}
    turns: dict[str, int] = {}
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/status", "rb", buffering=0) as file:
                fields = dict(line.partition(b":")[::2] for line in file.read().splitlines())
        except OSError:  # it has just ended
            return None
        if fields[b"State"].strip()[:1] != ASLEEP:
            return None
        turns[thread] = sum(int(fields.get(name, b"0")) for name in _SWITCHES)
    return turns
