"""An example of each command, shown at the end of its help."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "run": (
        'rlm-graph run "Which contract has the shortest notice period?" -c contracts/ -m openai/gpt-5-mini',
        'rlm-graph run "What failed first?" -c huge.log -m ollama/qwen3:8b --max-cost 0.50',
        'journalctl | rlm-graph run "What woke the machine at night?" -o answer.txt',
    ),
    "agent": ('rlm-graph agent "What failed first?" -c huge.log -m openai/gpt-5-mini',),
    "resume": ("rlm-graph resume", "rlm-graph resume 20260301-ab12 --max-turns 30"),
    "ask": ('rlm-graph ask 20260301-ab12 "And which is the longest?"',),
    "fork": ('rlm-graph fork 20260301-ab12 --at 2 --question "What else does it say?"',),
    "logs": ("rlm-graph logs", "rlm-graph logs 20260301-ab12 --full"),
    "rm": ("rlm-graph rm 20260301-ab12",),
    "du": ("rlm-graph du",),
    "ps": ("rlm-graph ps --sandboxes",),
    "sweep": ("rlm-graph sweep --older-than 2h",),
    "tools": ("rlm-graph tools --check",),
    "trust": ("rlm-graph trust .",),
    "init": ("rlm-graph init",),
    "doctor": ("rlm-graph doctor -m ollama/qwen3:8b",),
    "config show": ("rlm-graph config show",),
    "memory list": ("rlm-graph memory list --all",),
    "memory show": ("rlm-graph memory show KEY",),
    "memory rm": ("rlm-graph memory rm KEY",),
    "memory clear": ("rlm-graph memory clear --project pumps",),
    "docker build": ("rlm-graph docker build -p numpy==2.2.0",),
    "pyodide fetch": ("rlm-graph pyodide fetch",),
}
"""By the command's words."""


def epilog(command: str) -> str:
    """Return the examples of a command as its help shows them: each in a line of its own, which is not wrapped."""
    lines = EXAMPLES[command]
    return "\b\n" + "\n".join([f"Example{'s' if len(lines) > 1 else ''}:", *(f"  {line}" for line in lines)])
