"""The kinds of executor that other packages bring.

A package registers one as an entry point of the group `rlm_graph.executors`, by its kind: the class of its settings. It
is imported when its kind is chosen, not before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator

from rlm_graph.errors import SetupError
from rlm_graph.value import Value

GROUP = "rlm_graph.executors"
BUILT_IN = ("local", "docker", "pyodide", "e2b")
"""Those of `ExecutorSettings`."""


class PluginExecutorSettings(Value):
    """The settings of an executor that another package brings: a subclass gives `kind` its default, and `executor`.

    Every other field needs a default, so that the executor can be chosen by its kind alone.
    """

    kind: str

    def executor(self) -> object:
        """Build the executor, importing what it needs only now. Raises `SetupError` where it cannot be used."""
        raise NotImplementedError

    @model_validator(mode="wrap")
    @classmethod
    def _as_its_package_says(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if cls is not PluginExecutorSettings or isinstance(values, PluginExecutorSettings):
            return handler(values)
        try:
            chosen = settings_of(str(values.get("kind")))
        except SetupError as error:
            told = ValueError(str(error))
            raise ValidationError.from_exception_data(
                cls.__name__, [{"type": "value_error", "loc": ("kind",), "input": values, "ctx": {"error": told}}]
            ) from error
        return chosen.model_validate(values)  # type: ignore[return-value]  # `Self` is the base here, of all of them


def installed_plugins() -> list[EntryPoint]:
    """Return what installed packages register, by kind. Imports none of it; what is built in cannot be replaced."""
    found = (point for point in entry_points(group=GROUP) if point.name not in BUILT_IN)
    return sorted(found, key=lambda point: point.name)


def settings_of(kind: str) -> type[PluginExecutorSettings]:
    """Return the settings of a kind that a package brings. Raises `SetupError` if it cannot be chosen."""
    points = [point for point in installed_plugins() if point.name == kind]
    if not points:
        raise SetupError(f"{kind!r} is none of {', '.join(map(repr, all_kinds()))}")
    if len(points) > 1:
        raise SetupError(f"{kind!r} is brought twice, by {' and '.join(map(package, points))}; uninstall one of them")
    return load(points[0])


def load(point: EntryPoint) -> type[PluginExecutorSettings]:
    """Import what is registered. Raises `SetupError` if that fails, or if it is no class of settings."""
    try:
        found = point.load()
    except Exception as error:  # importing runs any code
        raise SetupError(f"{point.name!r}, which {package(point)} brings, cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, PluginExecutorSettings)):
        raise SetupError(
            f"{point.name!r}, which {package(point)} brings, cannot be used: {point.value} is no subclass of "
            "rlm_graph.settings.plugins.PluginExecutorSettings"
        )
    if found.model_fields["kind"].default != point.name:
        raise SetupError(
            f"{point.name!r}, which {package(point)} brings, cannot be used: the kind of {point.value} is "
            f"{found.model_fields['kind'].default!r}"
        )
    return found


def loadable_settings() -> Iterator[type[PluginExecutorSettings]]:
    """Yield the settings of all kinds that packages bring and that can be loaded."""
    for point in installed_plugins():
        with contextlib.suppress(SetupError):  # it is told when it is chosen
            yield load(point)


def all_kinds() -> list[str]:
    """Return all kinds that there are, those that are built in first."""
    return list(dict.fromkeys([*BUILT_IN, *(point.name for point in installed_plugins())]))


def package(point: EntryPoint) -> str:
    """Return the name of the package that registers it, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value
