"""What can be done about an error, in the words of the command line: flags and commands."""

from __future__ import annotations

import shlex

from rlm_graph.cli.printing import manner
from rlm_graph.errors import Action, Hint, RLMError, worded

_FLAGS = {
    "max_turns": "--max-turns",
    "max_cost_usd": "--max-cost",
    "max_tokens": "--max-tokens",
    "max_subcalls": "--max-subcalls",
    "timeout_s": "--timeout",
}
"""The flag of each ceiling that has one."""

_QUOTED = {"trust_folder", "give_base_url", "give_tool"}
"""What is done to something that others may have named."""

ON_COMMAND_LINE: dict[Action, str] = {
    "raise_budget": "go on with a larger {}",
    "drop_ceiling": "drop the ceiling with `{} none`",
    "resume": "what was done is saved; go on: rlm-graph resume {}{place}",
    "wait": "wait for it (--wait), or end that process",
    "install": "pip install 'rlm-graph[{}]'",
    "name_database": "name another with --db",
    "upgrade": "upgrade rlm-graph",
    "encrypt": "give --encrypt (RLM_ENCRYPT=1), with its key in LANGGRAPH_AES_KEY",
    "give_key": "set LANGGRAPH_AES_KEY to the key that it was begun with",
    "leave_unencrypted": "leave --encrypt out",
    "set_data_dir": "set another data_dir (RLM_DATA_DIR)",
    "recover": "copy it away and try `sqlite3 FILE .recover`",
    "retry": "try again when it is done",
    "check_rights": "check who owns it and its folder",
    "free_space": "free some, then `rlm-graph resume{place}` goes on from the last step",
    "check_server": "check the address, the user and that the server runs",
    "give_password": "set PGPASSWORD, or write it into ~/.pgpass; an address on the command line can be seen by others",
    "list_runs": "`rlm-graph logs{place}` lists all",
    "show_run": "`rlm-graph logs {}{place}` shows its turns",
    "choose_name": "take it up with `rlm-graph resume {}{place}`, or choose another name",
    "list_tools": "`rlm-graph tools` shows what there is",
    "show_settings": "`rlm-graph config show` lists all",
    "write_settings": "`rlm-graph init` writes one",
    "set_model": "give -m NAME, set RLM_MODEL, or write `model` into rlm.toml (`rlm-graph init`)",
    "name_server": "for another server, name it with --base-url URL",
    "erase_memory": "erase it with `rlm-graph memory clear{place}`",
    "allow_unpriced": "allow it with --allow-unpriced",
    "allow_unsafe": "run with --unsafe-local to give the code your own rights",
    "choose_executor": "choose another executor with --executor",
    "build_image": "run `rlm-graph docker build`",
    "fetch_pyodide": "run `rlm-graph pyodide fetch`",
    "bring_pyodide": "bring that, and name it: rlm-graph pyodide fetch --from FILE",
    "trust_url": "download it yourself and give the file",
    "trust_folder": "read it, then `rlm-graph trust {}`, or name a file of your own with --config",
    "give_base_url": "give it again if it may be asked: --base-url {}",
    "give_tool": "give it again if code may call it: --tool {}",
    "set_again": "if it is to count, set {} again: in your own settings file, in a RLM_* variable or with --config",
}
"""How the command line says each action; `{}` is the subject, `{place}` the flags that say where runs lie."""


def advised(error: RLMError) -> str:
    """Return the error as the command line says it, in one line."""
    return " ".join(worded(error, _say).split())


def _say(hint: Hint) -> str:
    subject = shlex.quote(hint.subject) if hint.action in _QUOTED else _FLAGS.get(hint.subject, hint.subject)
    return ON_COMMAND_LINE[hint.action].format(subject, place=manner.place)
