"""litellm: loaded late and made quiet."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import logging
import os
import re
import sys
import threading
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

_loading = threading.Lock()
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")


def load_litellm() -> ModuleType:
    """Import litellm, once, so that it fetches nothing, reads no `.env` file and prints nothing to stdout.

    Takes 3 to 5 seconds the first time. A variable that the user has set is left as it is.
    """
    with _loading:
        return _litellm()


def warm_up() -> threading.Thread:
    """Start to load what a named model needs, in a thread of its own, while the caller does other things.

    Half a second or more of a run's start is hidden that way. Whoever needs the library sooner waits for the rest.
    """

    def load() -> None:
        load_litellm()
        importlib.import_module("langchain_litellm")

    thread = threading.Thread(target=load, name="rlm-graph-warm-up", daemon=True)
    thread.start()
    return thread


@functools.lru_cache(maxsize=1)
def _litellm() -> ModuleType:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    # In its default mode it reads the `.env` file of the folder that it is installed under.
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(_is_a_warning)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import litellm

        # Built by pydantic at their first use, with a warning that is litellm's own affair. Under `-W error` it would
        # break the stream that was the first to use them.
        litellm.ModelResponse(), litellm.ModelResponseStream()
    # Newer versions import more at their first request, and pydantic says this of types that are litellm's own. The
    # filter stays, for the block above is over by then.
    warnings.filterwarnings("ignore", "Items? .* on TypedDict class '_.*`ReadOnly` qualifier", UserWarning)
    litellm.suppress_debug_info = True
    for logger in loggers:
        # Its own handler writes whatever is below a warning to stdout, where only the answer belongs.
        for handler in list(logger.handlers):
            if type(handler).__module__.startswith("litellm"):
                logger.removeHandler(handler)
                logger.addHandler(_to_stderr(handler))
        logger.removeFilter(_is_a_warning)
    return litellm


def _is_a_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def _to_stderr(handler: logging.Handler) -> logging.Handler:
    quiet = logging.StreamHandler(sys.stderr)
    quiet.setLevel(handler.level)
    quiet.setFormatter(handler.formatter)
    for each in handler.filters:
        quiet.addFilter(each)
    return quiet


def facts(key: str) -> dict[str, Any] | None:
    """Return what litellm's list of models says of `key`: prices, window and modes. It needs no network."""
    return listed_models().get(key)


def listed_models() -> dict[str, Any]:
    """Return litellm's list of models: what it says of each, by its name."""
    if "litellm" in sys.modules and hasattr(sys.modules["litellm"], "model_cost"):
        listed: dict[str, Any] = load_litellm().model_cost
        return listed
    return _shipped_list()


@functools.lru_cache(maxsize=1)
def _shipped_list() -> dict[str, Any]:
    return _shipped_json("model_prices_and_context_window_backup.json")


@functools.lru_cache(maxsize=1)
def compatible_providers() -> dict[str, dict[str, Any]]:
    """Return the providers of which litellm's data says that OpenAI's protocol, and nothing special, is theirs.

    By name: `base_url`, `api_key_env` and sometimes `api_base_env`.
    """
    listed = _shipped_json("llms/openai_like/providers.json")
    plain = {"base_url", "api_key_env", "api_base_env", "base_class", "param_mappings", "supported_endpoints"}
    return {
        name: provider for name, provider in listed.items() if isinstance(provider, dict) and plain >= set(provider)
    }


@functools.lru_cache(maxsize=1)
def provider_names() -> frozenset[str]:
    """Return the names that litellm gives providers, the first part of `provider/model`."""
    # They are an enumeration in a module whose import is most of litellm's.
    path = _folder() / "types" / "utils.py"
    source = path.read_text("utf-8") if path.is_file() else ""
    enumeration = source.partition("class LlmProviders(")[2].partition("\nclass ")[0].partition("\n\n\n")[0]
    return (
        frozenset(re.findall(r'^    [A-Z0-9_]+ = "([^"]+)"', enumeration, re.MULTILINE)) | compatible_providers().keys()
    )


def _after_fork() -> None:
    global _loading
    _loading = threading.Lock()  # a thread that is not here may have held the other


os.register_at_fork(after_in_child=_after_fork)


def _shipped_json(name: str) -> dict[str, Any]:
    # Read as a file: importing litellm would be seconds for one number.
    path = _folder() / name
    listed: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return listed


def _folder() -> Path:
    found = importlib.util.find_spec("litellm")
    return Path((found.submodule_search_locations or ["."])[0]) if found is not None else Path("/nonexistent")
