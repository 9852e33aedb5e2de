"""What other packages bring, and the kinds of executor among it.

A package registers something as an entry point of one of our groups, by its name; it is imported when it is chosen, not
before. In the group `rlm_graph.executors` that is the class of an executor's settings, by its kind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Self, TypeVar

from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator

from rlm_graph.errors import SetupError, nearest
from rlm_graph.value import Value

T = TypeVar("T")

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


def registered(group: str) -> list[EntryPoint]:
    """Return what installed packages register in a group, by name. Imports none of it."""
    return sorted(entry_points(group=group), key=lambda point: point.name)


def imported(point: EntryPoint, make: Callable[[Any], T]) -> T:
    """Import what is registered and return what `make` makes of it. Raises `SetupError` if either fails."""
    try:
        return make(point.load())
    except Exception as error:  # importing runs any code
        raise SetupError(f"{point.name!r}, which {package(point)} brings, cannot be loaded: {error}") from error


def package(point: EntryPoint) -> str:
    """Return the name of the package that registers it, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value


def installed_plugins() -> list[EntryPoint]:
    """Return the executors that packages register, by kind. Imports none; what is built in cannot be replaced."""
    return [point for point in registered(GROUP) if point.name not in BUILT_IN]


def settings_of(kind: str) -> type[PluginExecutorSettings]:
    """Return the settings of a kind that a package brings. Raises `SetupError` if it cannot be chosen."""
    points = [point for point in installed_plugins() if point.name == kind]
    if not points:
        raise SetupError(f"{kind!r} is none of {', '.join(map(repr, all_kinds()))}{nearest(kind, all_kinds())}")
    if len(points) > 1:
        raise SetupError(f"{kind!r} is brought twice, by {' and '.join(map(package, points))}; uninstall one of them")
    return load(points[0])


def load(point: EntryPoint) -> type[PluginExecutorSettings]:
    """Import what is registered. Raises `SetupError` if that fails, or if it is no class of settings."""
    found = imported(point, lambda found: found)
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
