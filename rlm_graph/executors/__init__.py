"""Places that run code: `create_executor` chooses one by its settings and imports no more than that one."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never, cast

if TYPE_CHECKING:
    from rlm_graph.executors.base import Executor
    from rlm_graph.settings import ExecutorSettings


def create_executor(settings: ExecutorSettings | str | Executor) -> Executor:
    """Build the executor that `settings` names, importing its SDK only now. An executor is returned as it is.

    Raises `SetupError` for a name that there is not.
    """
    from rlm_graph.errors import SetupError
    from rlm_graph.settings import DockerSettings, E2BSettings, LocalSettings, PyodideSettings
    from rlm_graph.settings.plugins import PluginExecutorSettings

    if isinstance(settings, str):
        settings = _by_name(settings)
    if not isinstance(
        settings, LocalSettings | DockerSettings | PyodideSettings | E2BSettings | PluginExecutorSettings
    ):
        if not callable(getattr(settings, "attached", None)) or isinstance(settings, type):
            raise SetupError(
                f"executor: give a kind such as 'local', its settings or an executor, not {settings!r}"[:300]
            )
        return settings
    match settings:
        case LocalSettings():
            from rlm_graph.executors.local import LocalExecutor

            return LocalExecutor(settings)
        case DockerSettings():
            from rlm_graph.executors.docker import DockerExecutor

            return DockerExecutor(settings)
        case PyodideSettings():
            from rlm_graph.executors.pyodide import PyodideExecutor

            return PyodideExecutor(settings)
        case E2BSettings():
            from rlm_graph.executors.e2b import E2BExecutor

            return E2BExecutor(settings)
        case PluginExecutorSettings():
            return cast("Executor", settings.executor())
    assert_never(settings)


def warm_up(settings: ExecutorSettings) -> None:
    """Begin to start what the first REPL of a process takes, in a thread, while the caller does other things.

    That is the interpreter from which the REPLs on this machine are forked; other places have nothing to begin with.
    """
    from rlm_graph.settings import LocalSettings

    if isinstance(settings, LocalSettings):
        from rlm_graph.executors.machine.fork_server import FORK_SERVER

        FORK_SERVER.warm_up()


def _by_name(name: str) -> ExecutorSettings:
    from rlm_graph.errors import SetupError
    from rlm_graph.settings import DockerSettings, E2BSettings, LocalSettings, PyodideSettings
    from rlm_graph.settings.plugins import settings_of

    built_in: dict[str, type[ExecutorSettings]] = {
        "local": LocalSettings, "docker": DockerSettings, "pyodide": PyodideSettings,
        "e2b": E2BSettings,
    }  # fmt: skip
    try:
        return built_in[name]() if name in built_in else settings_of(name)()  # type: ignore[call-arg]  # `kind` has a default
    except ValueError as error:
        raise SetupError(f"the executor {name!r} cannot be chosen by its name alone: {error}") from error
