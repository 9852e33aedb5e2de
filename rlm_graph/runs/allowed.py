"""What of a run's record counts: a record is no setting, for whoever can write to the database can have written it.

What a run was started with holds when it is taken up again, but for what could turn confinement off, send keys and
contexts elsewhere or give code more tools. Of that counts what whoever takes the run up allows today, by their settings
or by flags, what is no more than the default, and a base URL on this machine itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from rlm_graph.errors import Hint, SetupError
from rlm_graph.settings import Settings, ToolSettings
from rlm_graph.settings.marks import mark_of, tables_in
from rlm_graph.settings.plugins import BUILT_IN
from rlm_graph.settings.tools import BUILT_IN_TOOLS
from rlm_graph.settings.trusted import shown

_HERE = re.compile(r"https?://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?(/[\w./~-]*)?")
"""Addresses on this machine. No text that parsers might read in two ways is among them."""

_JSON: TypeAdapter[Any] = TypeAdapter(Any)

Table = Mapping[str, Any]


def check_executors(run: str, kept: Table, today: Table) -> None:
    """Raise `SetupError` for an executor in the settings `kept` of a run that is not allowed `today`.

    Both are settings in the form of JSON, with the flags of today in both.
    """
    agents, allowed = kept.get("agents") or {}, today.get("agents") or {}
    executors = [("executor", kept.get("executor"), today.get("executor"))]
    for name, agent in agents.items():
        executors.append((f"agents.{name}.executor", agent.get("executor"), allowed.get(name, {}).get("executor")))
    for key, executor, wanted in executors:
        if executor is None or executor == wanted:
            continue
        for option, value in _more_than(executor, wanted or {}):
            unsafe = (key, executor.get("kind"), option) == ("executor", "local", "unsafe")
            hint = Hint("allow_unsafe") if unsafe else Hint("set_again", f"{key}.{option}")
            raise _not_allowed(run, f"{key}.{option}", value, hint)


def check_models(run: str, kept: Table, today: Table) -> None:
    """Raise `SetupError` for a base URL in the settings `kept` of a run that is not allowed `today`."""
    url = (kept.get("models") or {}).get("base_url")
    if url is None or url == today["models"].get("base_url") or _HERE.fullmatch(str(url)):
        return
    raise _not_allowed(run, "models.base_url", url, Hint("give_base_url", str(url)))


def check_tools(run: str, kept: Table, tools: Collection[str], today: Table) -> None:
    """Raise `SetupError` for a tool that a run or its specialist was started with and that is not allowed `today`.

    What is used today is allowed, and so are the tools that are built in and those of the MCP servers of today.
    """
    from rlm_graph.tools.registry import server_of

    settings = ToolSettings.model_validate(today["tools"])
    specialists = today.get("agents") or {}
    wanted = {"tools.use": (tools, settings.use)}
    for name, agent in (kept.get("agents") or {}).items():
        now = specialists.get(name, {}).get("tools") or ()
        wanted[f"agents.{name}.tools"] = (agent.get("tools") or (), now)
    for key, (names, now) in wanted.items():
        for name in names:
            if name not in {*now, *settings.use, *BUILT_IN_TOOLS} and server_of(name, settings) is None:
                raise _not_allowed(run, key, name, Hint("give_tool", name))


def _more_than(executor: Table, wanted: Table) -> Iterator[tuple[str, Any]]:
    """Yield the options that are neither harmless, nor those that are wanted today, nor the defaults."""
    kind = executor.get("kind")
    if kind not in BUILT_IN:  # only its package knows what its options mean
        yield "kind", kind
        return
    [settings] = [
        table
        for table in tables_in(Settings.model_fields["executor"].annotation)
        if table.model_fields["kind"].default == kind
    ]
    for option, value in executor.items():
        field = settings.model_fields.get(option)
        if field is None or option == "kind":
            continue
        mark = mark_of(field)
        harmless = mark is not None and mark.counts(value, Path())
        by_default = _JSON.dump_python(field.get_default(call_default_factory=True), mode="json")
        same = wanted.get("kind", "local") == kind and option in wanted and wanted[option] == value
        if not (harmless or same or value == by_default):
            yield option, value


def _not_allowed(run: str, key: str, value: object, hint: Hint) -> SetupError:
    return SetupError(
        f"run {run} was started with {shown(key.split('.'), value)}, which is not allowed today", hint=hint
    )
