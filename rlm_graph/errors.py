"""Everything rlm-graph raises.

RLMError
├── SetupError             the run cannot start: bad settings, no key, an unknown model, no sandbox here
│   └── UntrustedError     a folder that nobody has trusted has settings that run, load or send
├── InputError             what the caller gave cannot be used: no question, an unreadable context, a bad schema
│   └── RunNotFoundError   no run of that name is in the database
├── StorageError           the database is corrupt, locked, full or of another kind
├── RunHeldError           another process is at work on the run
├── BudgetExceeded         a call asked for more than is left
├── ExecutorError          the sandbox failed, and no code the model writes can repair it
│   └── ReplLostError      the REPL that a checkpoint names is gone and cannot be rebuilt
└── ModelError             the provider failed after its retries

An exception in the model's own code is none of these: it is output for the model to read.

An error says what is wrong, with the facts. What to do about it is a `Hint`, which each door puts in its own words:
parameters in Python, flags and commands on the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple

Action = Literal[
    "raise_budget",
    "drop_ceiling",
    "resume",
    "wait",
    "install",
    "name_database",
    "upgrade",
    "encrypt",
    "give_key",
    "leave_unencrypted",
    "set_data_dir",
    "recover",
    "retry",
    "check_rights",
    "free_space",
    "check_server",
    "give_password",
    "list_runs",
    "show_run",
    "choose_name",
    "list_tools",
    "show_settings",
    "write_settings",
    "set_model",
    "name_server",
    "erase_memory",
    "allow_unpriced",
    "allow_unsafe",
    "choose_executor",
    "build_image",
    "fetch_pyodide",
    "bring_pyodide",
    "trust_url",
    "trust_folder",
    "give_base_url",
    "give_tool",
    "set_again",
]
"""What can be done about an error."""


class Hint(NamedTuple):
    """What to do about an error, for a program to act on and for each door to word.

    `subject` is what the action is done to: the field of `Budget` to raise or to drop, the id of the run to resume,
    wait for, show or name otherwise, the extra to install; empty where the action says it all.
    """

    action: Action
    subject: str = ""


IN_PYTHON: dict[Action, str] = {
    "raise_budget": "go on with a larger Budget({}=...)",
    "drop_ceiling": "drop the ceiling with Budget({}=None)",
    "resume": "what was done is saved; go on with invoke(None, config)",
    "wait": "wait until it has ended, or end that process",
    "install": "pip install 'rlm-graph[{}]'",
    "name_database": "name another database, as Settings(db=...)",
    "upgrade": "upgrade rlm-graph",
    "encrypt": "open it with Settings(encrypt=True), and its key in LANGGRAPH_AES_KEY",
    "give_key": "set LANGGRAPH_AES_KEY to the key that it was begun with",
    "leave_unencrypted": "open it with Settings(encrypt=False)",
    "set_data_dir": "set another folder, as Settings(data_dir=...)",
    "recover": "copy it away and try `sqlite3 FILE .recover`",
    "retry": "try again when it is done",
    "check_rights": "check who owns it and its folder",
    "free_space": "free some, then go on with invoke(None, config)",
    "check_server": "check the address, the user and that the server runs",
    "give_password": "set PGPASSWORD, or write it into ~/.pgpass",
    "list_runs": "Runs.page() of rlm_graph.storage.runs lists them",
    "show_run": "graph.get_state_history(config) shows the steps of thread {}",
    "choose_name": "go on with invoke(None, config) of thread {}, or choose another name",
    "list_tools": "tool_statuses() of rlm_graph.tools.registry lists them, and what is wrong with each",
    "show_settings": "see rlm_graph.settings.Settings for all there are",
    "write_settings": "write it, or leave `config` out",
    "set_model": "give a model, as Settings(model=...) or in RLM_MODEL",
    "name_server": "for another server, name it, as ModelSettings(base_url=...) or in LLM_BASE_URL",
    "erase_memory": "erase it with Notes.forget() of rlm_graph.memory",
    "allow_unpriced": "allow it with Budget(allow_unpriced=True)",
    "allow_unsafe": "allow it with unsafe=True in the executor's settings, which gives the code your own rights",
    "choose_executor": "choose another, as create_rlm_agent(executor=...)",
    "build_image": "build it with build() of rlm_graph.executors.docker.image",
    "fetch_pyodide": "fetch it with fetch() of rlm_graph.executors.pyodide.runtime",
    "bring_pyodide": "bring that, and name it with fetch(source=...) of rlm_graph.executors.pyodide.runtime",
    "trust_url": "give its content, or URL(..., trusted=True) if it may be asked",
    "trust_folder": "read its files, then give one as Settings.load(config=...), or trust() them (rlm_graph.settings)",
    "give_base_url": "give it again if it may be asked, as Settings(models=ModelSettings(base_url='{}'))",
    "give_tool": "give it again if code may call it, as Settings(tools=ToolSettings(use=('{}',)))",
    "set_again": "set {} again if it is to count",
}
"""How Python says each action; `{}` is the subject."""


class RLMError(Exception):
    """The base of all of them.

    `problem` says what failed, in the words of no door; `hints` what can be done, the best first. As text, an error is
    its problem and its hints as Python says them.
    """

    def __init__(self, problem: str, *, hint: Hint | Sequence[Hint] = ()) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hints: tuple[Hint, ...] = (hint,) if isinstance(hint, Hint) else tuple(hint)

    @property
    def hint(self) -> Hint | None:
        """What is best done about it, where that is known."""
        return self.hints[0] if self.hints else None

    def about(self, subject: str) -> None:
        """Say in front whose problem it is: `agent coder: ...`."""
        self.problem = f"{subject}: {self.problem}"

    def __str__(self) -> str:
        return worded(self, lambda hint: IN_PYTHON[hint.action].format(hint.subject))


def worded(error: RLMError, say: Callable[[Hint], str]) -> str:
    """Return the error in the words of one door, which `say` has for each hint."""
    advice = " or ".join(map(say, error.hints))
    return f"{error.problem}; {advice}" if advice else error.problem


def nearest(name: str, known: Iterable[str]) -> str:
    """Return what to say after an unknown name: `; did you mean max_turns?`, or which names there are."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are: {', '.join(names)}" if names else ""


class SetupError(RLMError):
    """The run cannot start as it is configured."""


class UntrustedError(SetupError):
    """A folder has settings that run, load, send or weaken something, and nobody has trusted it.

    `files` are the files that say so, each with the hash of what it says; `wanted` are those settings with their
    values, each a line of ASCII.
    """

    def __init__(self, files: Mapping[Path, str], wanted: Sequence[str]) -> None:
        self.files = dict(files)
        self.wanted = tuple(wanted)
        [first, *others] = (line.partition(" = ")[0] for line in wanted)
        more = f" and {len(others)} more" if others else ""
        super().__init__(
            f"{' and '.join(map(str, self.files))}: {first}{more} would run, load, send or allow something; from a "
            "folder that counts only if you trust it",
            hint=Hint("trust_folder", str(next(iter(self.files)).parent)),
        )

    def __reduce__(self) -> tuple[object, ...]:
        return UntrustedError, (self.files, self.wanted), vars(self)


class InputError(RLMError):
    """The question, the context or an argument cannot be used."""


class RunNotFoundError(InputError):
    """The database holds no run of that name."""


class StorageError(RLMError):
    """The database of runs cannot be read or written."""


class RunHeldError(RLMError):
    """Another process is at work on the run. `holder` tells which one and since when, as far as it is known."""

    def __init__(self, run: str, holder: str) -> None:
        self.run = run
        self.holder = holder
        super().__init__(f"run {run} is held by {holder}", hint=Hint("wait", run))

    def __reduce__(self) -> tuple[object, ...]:
        return RunHeldError, (self.run, self.holder), vars(self)


class BudgetExceeded(RLMError):
    """A call asked for more than its budget leaves.

    `ceiling` is the field of `Budget` that was met, `spent` and `limit` are in that field's unit.
    """

    def __init__(self, ceiling: str, *, spent: float, limit: float) -> None:
        self.ceiling = ceiling
        self.spent = spent
        self.limit = limit
        super().__init__(f"{ceiling} reached: spent {spent:,g} of {limit:,g}", hint=Hint("raise_budget", ceiling))

    def __reduce__(self) -> tuple[object, ...]:
        return _budget_exceeded, (self.ceiling, self.spent, self.limit), vars(self)


def _budget_exceeded(ceiling: str, spent: float, limit: float) -> BudgetExceeded:
    return BudgetExceeded(ceiling, spent=spent, limit=limit)


class ExecutorError(RLMError):
    """The sandbox failed. The last checkpoint holds the run."""


class ReplLostError(ExecutorError):
    """The REPL that a checkpoint names is gone and cannot be rebuilt."""


class ModelError(RLMError):
    """The provider failed. `retryable` tells whether the same request may succeed later.

    `too_long`: the request exceeds the model's context window. `retry_after_s` is the pause that the provider asked
    for, in seconds. `usage` is what the request cost all the same, as a `Usage`; None if it cost nothing. `partial` is
    the text that had come before the reply broke off.
    """

    usage: Any = None
    partial: str = ""

    def __init__(
        self,
        problem: str,
        *,
        retryable: bool = False,
        too_long: bool = False,
        retry_after_s: float | None = None,
        hint: Hint | Sequence[Hint] = (),
    ) -> None:
        super().__init__(problem, hint=hint)
        self.retryable = retryable
        self.too_long = too_long
        self.retry_after_s = retry_after_s
