"""Whether a process does nothing but wait, as the kernel counts it.

Source: proc_pid_status(5), for the fields `State`, `voluntary_ctxt_switches` and `nonvoluntary_ctxt_switches`, and
proc_pid_stat(5), which the kernel writes in a third of the time.
"""

from __future__ import annotations

import os

from rlm_graph.executors.sandbox.supervisor.metering import processor_time

ASLEEP = b"S"
_SWITCHES = (b"voluntary_ctxt_switches", b"nonvoluntary_ctxt_switches")


def is_still(pid: int) -> bool:
    """Tell whether there was a moment, just now, at which every thread of the process slept.

    If each sleeps when it is looked at, one after another, and the process has used no processor time meanwhile, then
    all slept at the first look: a thread that did not would have had to run to fall asleep. Where the kernel does not
    tell the time, each thread is looked at twice. True where the kernel does not tell anything.
    """
    used = processor_time(pid)
    if used:
        return _all_sleep(pid) and processor_time(pid) == used
    before = turns_of_sleepers(pid)
    return before is not None and before == turns_of_sleepers(pid)


def _all_sleep(pid: int) -> bool:
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/stat", "rb", buffering=0) as file:
                # After the name, which may hold anything.
                if file.read().rpartition(b")")[2].split(None, 1)[0] != ASLEEP:
                    return False
    except FileNotFoundError:  # a thread has just ended
        return not os.path.isdir("/proc/self/task")
    except OSError:
        return False
    return True


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
