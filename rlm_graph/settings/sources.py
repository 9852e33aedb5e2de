"""Where settings come from: flags, variables and files, each a layer over the next."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsError

from rlm_graph.errors import Hint, InputError, SetupError, UntrustedError
from rlm_graph.settings import marks, plugins, trusted
from rlm_graph.settings.trusted import user_folder
from rlm_graph.surrogates import has_surrogates

FLAG = "flag"
CONFIG_NAME = "rlm.toml"
PROJECT_NAME = "pyproject.toml"
PREFIX = "RLM_"

PATHS = frozenset({"db", "data_dir"})
"""Settings that name files, whose names need not be UTF-8."""

LIKE_OURS = 0.75
"""How like a setting's name a variable's must be to be taken for a slip of the pen, from 0 to 1."""

SECRET_WORDS = ("api_key", "apikey", "secret", "password")

S = TypeVar("S", bound=BaseSettings)


class Layer(NamedTuple):
    """What one place sets, nested as the settings are, and what messages call that place."""

    place: str
    values: dict[str, Any]
    folder: Path | None = None
    """Where relative paths of a file start."""
    stranger: str = ""
    """The hash of a file that whoever made its folder may have written; empty where the user has said it."""


def user_file() -> Path:
    """The file that holds the user's own settings for all folders."""
    return user_folder() / CONFIG_NAME


def current_folder() -> Path:
    """Return the current folder. Raises `SetupError` if it is gone."""
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise SetupError("the current folder has been deleted; change to another one") from error


def settings_files(folder: Path) -> list[Path]:
    """Return the files that a folder may have settings in."""
    return [folder / CONFIG_NAME, folder / PROJECT_NAME]


def read_layers(
    settings: type[BaseSettings], flags: Mapping[str, Any], *, config: Path | None, folder: Path
) -> list[Layer]:
    """Read every place, the strongest first. Raises `SetupError` for an unknown key or a file that cannot be read."""
    if config is not None and not config.is_file():
        raise SetupError(f"{config}: no such settings file", hint=Hint("write_settings"))
    layers = [
        Layer(FLAG, dict(flags)),
        Layer("environment", _environment(settings)),
        _file(folder / CONFIG_NAME, found=True) if config is None else _file(config),
        _file(folder / PROJECT_NAME, table=("tool", "rlm-graph"), found=True),
        _file(user_file()),
    ]
    for layer in layers:
        layer.values.update(_plain(layer, layer.values))
        _check_keys(settings, layer)
    return layers


def check_trust(settings: type[BaseSettings], layers: list[Layer]) -> None:
    """Raise `UntrustedError` if a guarded setting would count that only a folder says which nobody has trusted."""
    _, origins = _laid_over(layers)
    wanted: dict[tuple[str, ...], str] = {}
    files: dict[Path, str] = {}
    for layer in layers:
        if not layer.stranger or layer.folder is None:
            continue
        for path, value in _leaves(layer.values):
            if origins.get(path) is layer and not marks.counts(settings, path, value, layer.folder):
                wanted[path] = trusted.shown(path, value)
                files[Path(layer.place)] = layer.stranger
    if wanted:
        raise UntrustedError(files, tuple(wanted.values()))


def merged(layers: list[Layer]) -> tuple[dict[str, Any], dict[str, str]]:
    """Lay the layers over one another. Returns the values and, for each dotted key, the place it came from."""
    values, origins = _laid_over(layers)
    return values, {".".join(path): _place(layer, path) for path, layer in origins.items()}


def _laid_over(layers: list[Layer]) -> tuple[dict[str, Any], dict[tuple[str, ...], Layer]]:
    values: dict[str, Any] = {}
    origins: dict[tuple[str, ...], Layer] = {}
    for layer in reversed(layers):
        kind = layer.values.get("executor", {}).get("kind")
        if kind and kind != values.get("executor", {}).get("kind", "local"):
            # Options of one kind of executor mean nothing to another.
            values["executor"] = {}
            origins = {path: place for path, place in origins.items() if path[0] != "executor"}
        _overlay(values, layer.values)
        for path, _ in _leaves(layer.values):
            origins.pop(path, None)  # so that what is said last stands last
            origins[path] = layer
    return values, origins


def validated(settings: type[S], values: Mapping[str, Any], origins: Mapping[str, str]) -> S:
    """Build the settings. Raises `SetupError` naming the place and the key of the first value that does not fit.

    It is an `InputError` if that value was given as a flag.
    """
    try:
        return settings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        chosen = values.get("executor", {}).get("kind")
        # pydantic names the member of a union that it chose, between the field and the key in it.
        place_of_kind = [at + 1 for at, part in enumerate(first["loc"]) if part == "executor" and at in (0, 2)]
        keys = [str(part) for at, part in enumerate(first["loc"]) if at not in place_of_kind]
        prefixes = [".".join(keys[:length]) for length in range(len(keys), 0, -1)]
        key = next((prefix for prefix in prefixes if prefix in origins), prefixes[0])
        place = origins.get(key, "settings")
        raise (InputError if place == FLAG else SetupError)(f"{place}: {key}: {_objection(first, chosen)}") from error


def _objection(error: Mapping[str, Any], chosen: str | None) -> str:
    value = error["input"]
    match error["type"]:
        case "literal_error":
            known = re.findall("'([^']+)'", error["ctx"]["expected"])
            close = get_close_matches(str(value), known, n=1, cutoff=0.5)
            meant = f"; did you mean {close[0]}?" if close else ""
            return f"{value!r} is none of {error['ctx']['expected']}{meant}"
        case "extra_forbidden":
            return f"the {chosen} executor has no such setting" if error["loc"][0] == "executor" else "no such setting"
        case "value_error":  # of our own validators, which know what may be repeated
            return str(error["msg"]).removeprefix("Value error, ")
    return f"{error['msg']}" + (f" (given: {value!r})" if isinstance(value, str | int | float) else "")


def is_address(db: object) -> bool:
    """Tell whether a database is named by the address of a PostgreSQL server."""
    return isinstance(db, str) and db.startswith(("postgresql://", "postgres://"))


def without_password(address: str) -> str:
    """Return the address as it can be shown."""
    from urllib.parse import urlsplit

    parts = urlsplit(address)
    if parts.password is None:
        return address
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username}:***@{host}").geturl()


def overlaid(values: Mapping[str, Any], stronger: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `values` with those of `stronger` in their place, table by table."""
    copy: dict[str, Any] = {}
    _overlay(copy, values)
    _overlay(copy, _plain(Layer(FLAG, {}), stronger))
    return copy


class _Environment(EnvSettingsSource):
    """`RLM_*` variables; `RLM_EXECUTOR` may be the bare kind beside `RLM_EXECUTOR__…`."""

    def prepare_field_value(self, field_name: str, field: FieldInfo, value: Any, value_is_complex: bool) -> Any:
        if field_name == "executor" and isinstance(value, str):
            return {"kind": value} | self.explode_env_vars(field_name, field, self.env_vars)
        return super().prepare_field_value(field_name, field, value, value_is_complex)


class SettingsWarning(UserWarning):
    """A variable looks like one of our settings and is none."""


def _environment(settings: type[BaseSettings]) -> dict[str, Any]:
    """Read our variables. Others have the same prefix: what names none of our settings or tables stops nothing.

    Raises `SetupError` for an unknown key in one of our tables; warns of a variable that may have been meant as ours.
    """
    others = set()
    for name in sorted(os.environ):
        if not name.startswith(PREFIX):
            continue
        path = name.removeprefix(PREFIX).lower().split("__")
        near = _nearest(settings, path)
        if near is not None and path[0] in settings.model_fields:
            raise _unknown("environment", "variable", name, PREFIX + near.replace(".", "__").upper())
        if near is not None or (_is_table(settings, path) and not _fits_table(path[0], os.environ[name])):
            others.add(name.lower())
            _warn_of(settings, name, path)
    source = _Environment(settings)
    source.env_vars = {name: value for name, value in source.env_vars.items() if name.lower() not in others}
    try:
        return source()
    except SettingsError as error:
        raise SetupError(f"environment: {error}; give each field its own variable, as RLM_BUDGET__MAX_TURNS") from error


def _fits_table(name: str, value: str) -> bool:
    """Tell whether the value of a variable that is called as one of our tables can be that table."""
    return name == "executor" or not value or value.lstrip().startswith("{")


def _warn_of(settings: type[BaseSettings], name: str, path: Sequence[str]) -> None:
    """Warn of a variable that is none of ours, if its name says that it was meant to be."""
    import warnings

    first, *rest = path
    tables = {key: list(_models_in(field.annotation)) for key, field in settings.model_fields.items()}
    meant = ["__".join([key, *rest]) for key in get_close_matches(first, tables, n=1, cutoff=LIKE_OURS) if key != first]
    meant += [f"{key}__{first}" for key, models in tables.items() if any(first in m.model_fields for m in models)]
    if any(word in first for word in SECRET_WORDS):
        advice = "keys are no settings: set the provider's own variable, such as OPENAI_API_KEY"
    elif meant and first not in tables:
        advice = f"did you mean {PREFIX}{meant[0].upper()}?"
    else:
        return
    warnings.warn(f"{name} is no variable of rlm-graph, and does not count; {advice}", SettingsWarning, stacklevel=2)


def _file(path: Path, *, table: tuple[str, ...] = (), found: bool = False) -> Layer:
    """Read a settings file, which the user has named, or which was `found` in the folder."""
    try:
        content = path.read_bytes() if path.is_file() else b""
        values: Any = tomllib.loads(content.decode())
    except (ValueError, OSError) as error:
        raise SetupError(f"{path}: cannot be read: {error}") from error
    for name in table:
        values = values.get(name, {}) if isinstance(values, dict) else values
    if not isinstance(values, dict):
        raise SetupError(f"{path}: [{'.'.join(table)}] must be a table")
    hashed = trusted.digest(content)
    own = not found or not values or path.resolve() == user_file().resolve() or trusted.is_trusted(path, hashed)
    return Layer(str(path), values, path.parent, "" if own else hashed)


def _plain(layer: Layer, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write out the short forms: a bare executor, `"none"` for no ceiling, paths relative to their file."""
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if key == "executor" and isinstance(value, str):
            plain[key] = {"kind": value}
        elif isinstance(value, dict):
            plain[key] = _plain(layer if key == "tools" else layer._replace(folder=None), value)
        elif isinstance(value, str) and value.lower() == "none":
            plain[key] = None
        elif key == "db" and is_address(value):
            plain[key] = value
        elif key in PATHS and isinstance(value, str | Path):
            plain[key] = (layer.folder or Path()) / Path(value).expanduser()
        elif key == "roots" and isinstance(value, list | tuple):
            plain[key] = [(layer.folder or Path()) / Path(root).expanduser() for root in value]
        else:
            plain[key] = value
    return plain


def _check_keys(settings: type[BaseSettings], layer: Layer) -> None:
    for path, value in _leaves(layer.values):
        key = ".".join(path)
        if layer.stranger and path[0] == "executor" and not marks.counts(settings, path, value, Path()):
            continue  # `check_trust` refuses it, before a package is imported to say whether it is a setting
        near = _nearest(settings, path)
        if near is not None:
            raise _unknown(layer.place, "key", key, near)
        if isinstance(value, str) and has_surrogates(value) and path[-1] not in PATHS:
            raise SetupError(f"{_place(layer, path)}: {key} is not text in UTF-8: {value!r}")
        if _is_table(settings, path) and not isinstance(value, dict | BaseModel):
            raise SetupError(f"{_place(layer, path)}: {key} is a table, not {value!r}")


def _unknown(place: str, kind: str, name: str, near: str) -> SetupError:
    problem = f"{place}: unknown {kind} {name}"
    if any(word in name.lower() for word in SECRET_WORDS):
        return SetupError(f"{problem}; keys are no settings: set the provider's own variable, such as OPENAI_API_KEY")
    return SetupError(f"{problem}; did you mean {near}?") if near else SetupError(problem, hint=Hint("show_settings"))


def _nearest(model: type[BaseModel], path: Sequence[str]) -> str | None:
    """Return None if `path` names a setting, else the setting most like it, or '' if none is."""
    name, *rest = path
    if name not in model.model_fields:
        return next(iter(get_close_matches(name, model.model_fields, n=1, cutoff=0.5)), "")
    annotation = model.model_fields[name].annotation
    if not rest or get_origin(annotation) is dict:
        return None
    found = []
    for member in _models_in(annotation):
        near = _nearest(member, rest)
        if near is None:
            return None
        found.append(near)
    return f"{name}.{max(found, key=len, default='')}".rstrip(".")


def _is_table(model: type[BaseModel], path: Sequence[str]) -> bool:
    return len(path) == 1 and any(_models_in(model.model_fields[path[0]].annotation))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if annotation is plugins.PluginExecutorSettings:  # none is imported for what the others know
        yield from plugins.loadable_settings()
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for member in get_args(annotation):
        yield from _models_in(member)


def _leaves(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _overlay(values: dict[str, Any], stronger: Mapping[str, Any]) -> None:
    for key, value in stronger.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _overlay(values[key], value)
        else:
            values[key] = dict(value) if isinstance(value, dict) else value


def _place(layer: Layer, path: Sequence[str]) -> str:
    return PREFIX + "__".join(path).upper() if layer.place == "environment" else layer.place
