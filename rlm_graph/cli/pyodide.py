"""`rlm-graph pyodide fetch`: the runtime of the pyodide executor, once."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rlm_graph.cli import flags as given


def fetch(
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FILE|FOLDER|URL", help="Take it from here instead of asking npm for it: the npm package."
        ),
    ] = None,
    config: given.Config = None,
) -> None:
    """Fetch the Pyodide runtime, check its hash, and make ready what REPLs start from.

    Nothing more is fetched after that. Its folder goes to stdout.
    """
    from rlm_graph.cli.printing import put, say
    from rlm_graph.cli.trusting import load_settings
    from rlm_graph.executors.pyodide.executor import PyodideExecutor
    from rlm_graph.executors.pyodide.image import image
    from rlm_graph.executors.pyodide.runtime import VERSION, fetch
    from rlm_graph.settings import PyodideSettings

    executor: dict[str, Any] = {"kind": "pyodide"}
    settings = load_settings(given.settings_flags(executor=executor), config=config).executor
    assert isinstance(settings, PyodideSettings)
    store = PyodideExecutor(settings).store
    folder = fetch(store, source)
    say(f"Pyodide {VERSION} is there; making what REPLs start from")
    image(store)
    put(str(folder), exact=True)
