"""Names: which server a model's name means, what is missing to reach it, and the chat model that does.

Servers that speak OpenAI's protocol are asked by our own client, `OpenAIChat`; all others by litellm's.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from rlm_graph.errors import Hint, SetupError
from rlm_graph.models.endpoints import NO_KEY, Endpoint, check_key, endpoint, missing_key
from rlm_graph.models.library import listed_models, load_litellm, provider_names
from rlm_graph.models.names import DEFAULTS, base_url, model_name
from rlm_graph.settings import ModelSettings, PoolSettings

_ADDRESSABLE = frozenset(
    {
        "custom_openai", "docker_model_runner", "hosted_vllm", "lemonade", "litellm_proxy", "llamafile", "lm_studio",
        "ollama", "ollama_chat", "oobabooga", "openai", "openai_like", "text-completion-openai", "vllm", "xinference",
    }
)  # fmt: skip
"""Providers that name a protocol, not a place: a base URL is for them. `groq/...` means Groq, wherever it leads."""
_ON_THIS_MACHINE = frozenset({"docker_model_runner", "lemonade", "llamafile", "lm_studio", "ollama", "ollama_chat"})
_KEEP_MARKED = frozenset({"litellm_proxy", "openrouter", "vercel_ai_gateway"})
"""Providers of OpenAI's protocol that pass the marks of `_marks` on; servers of others may refuse a field like that."""
_OTHER_CREDENTIALS = frozenset(
    {
        "bedrock", "bedrock_mantle", "chatgpt", "github_copilot", "oci", "sagemaker", "sagemaker_chat",
        "sagemaker_nova", "vertex_ai", "vertex_ai_beta", "watsonx",
    }
)  # fmt: skip
"""Providers that also take credentials from profiles, roles and files: only a request tells whether they are there."""


@dataclass(frozen=True)
class Route:
    """Where the requests of a named model go."""

    name: str
    """With the provider that litellm is to use."""
    base_url: str | None
    key: str | None

    def __repr__(self) -> str:
        return f"Route({self.name!r}, {self.base_url!r})"


def route(name: str, settings: ModelSettings = DEFAULTS) -> Route:
    """Return where `name` leads under `settings` and the environment.

    With a base URL (`settings.base_url`, else `LLM_BASE_URL`, else `OPENAI_BASE_URL`), a name without a provider is
    asked for there, by OpenAI's protocol: `qwen3:8b`, `meta-llama/Llama-3.1-8B`. A name with a provider keeps it. The
    key is `LLM_API_KEY`, else `OPENAI_API_KEY`, else a placeholder.
    """
    address = settings.base_url or os.environ.get("LLM_BASE_URL") or os.environ.get("OPENAI_BASE_URL")
    provider, slash, _ = name.partition("/")
    has_provider = bool(slash) and provider in provider_names()
    if not address or (has_provider and provider not in _ADDRESSABLE):
        return Route(name, None, None)
    if has_provider and provider != "openai":
        return Route(name, address, None)
    key = os.environ.get("LLM_API_KEY") or os.environ.get("OPENAI_API_KEY") or NO_KEY
    return Route(name if has_provider else f"openai/{name}", address, key)


def chat_model(model: str | BaseChatModel, settings: ModelSettings = DEFAULTS) -> BaseChatModel:
    """Return the chat model of that name; a model object is returned as it is.

    It makes each request once: retries are LangGraph's, see `retry_policy`. Call `check_model` first for an error
    that says what is missing.
    """
    if isinstance(model, BaseChatModel):
        return model
    if model in settings.pools:
        from rlm_graph.models.pool import Pool

        pool = settings.pools[model]
        return Pool(model=model, members=[chat_model(name, settings) for name in pool.models], policy=pool.policy)
    price = settings.prices.get(model)
    common: dict[str, Any] = {
        "temperature": settings.temperature,
        "metadata": None if price is None else {"price": price.model_dump()},
        **({} if settings.stream is None else {"streaming": settings.stream}),
    }
    own = own_endpoint(model, settings)
    if own is not None:
        from rlm_graph.models.openai_chat import OpenAIChat

        if own.key is not None:
            check_key(own.key, own.key_name)
        return OpenAIChat(
            model=route(model, settings).name,
            provider=own.provider,
            server_model=own.model,
            url=own.url,
            api_base=route(model, settings).base_url,
            api_key=SecretStr(own.key or NO_KEY),
            request_timeout_s=settings.request_timeout_s,
            marks=bool(_marks(model, settings)) and own.provider in _KEEP_MARKED,
            **common,
        )
    load_litellm()
    from rlm_graph.models.litellm_chat import LiteLLMChat

    there = route(model, settings)
    return LiteLLMChat(
        model=there.name,
        api_base=there.base_url,
        api_key=there.key,
        request_timeout=settings.request_timeout_s,
        max_retries=1,  # attempts, in langchain-litellm's count
        model_kwargs={"max_retries": 0, **_marks(there.name, settings)},  # retries of the provider's SDK
        **common,
    )


def own_endpoint(name: str, settings: ModelSettings = DEFAULTS) -> Endpoint | None:
    """Return where our own client asks the model of that name; None where litellm asks it."""
    if settings.client == "litellm":
        return None
    there = route(name, settings)
    key = None if there.key is None else (_key_name(there.key), there.key)
    return endpoint(there.name, there.base_url, key)


def _key_name(key: str) -> str:
    return "LLM_API_KEY" if os.environ.get("LLM_API_KEY") == key else "OPENAI_API_KEY"


def _marks(name: str, settings: ModelSettings) -> dict[str, Any]:
    """Return where litellm is to mark what a provider may keep: the rules, and all that was said so far.

    Source: litellm's `cache_control_injection_points`. Only Anthropic's models, at whatever provider, want marks.
    """
    if not settings.cache_prompts or "claude" not in name:
        return {}
    points = [{"location": "message", "role": "system"}, {"location": "message", "index": -1}]
    return {"cache_control_injection_points": points}


def check_model(model: str | BaseChatModel, settings: ModelSettings = DEFAULTS) -> None:
    """Raise `SetupError`, before any request, if the name means no provider or its key is missing."""
    if isinstance(model, BaseChatModel):
        return
    if model in settings.pools:
        for member in settings.pools[model].models:
            check_model(member, settings)
        return
    there = route(model, settings)
    if there.base_url is not None:
        parts = urlsplit(there.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SetupError(f"the base URL {there.base_url!r} is not an http:// or https:// address")
        if there.key is not None:
            check_key(there.key, _key_name(there.key))
        return
    own = own_endpoint(model, settings)
    if own is not None:
        missing_key(own, model)
        return
    litellm = load_litellm()
    try:
        _, provider, _, _ = litellm.get_llm_provider(model=model)
    except litellm.BadRequestError:
        raise SetupError(_unknown(model), hint=Hint("name_server")) from None
    if provider in _OTHER_CREDENTIALS or provider in _ON_THIS_MACHINE:
        return
    name = f"{provider.upper()}_API_KEY"
    if not os.environ.get(name, "set").strip():
        raise SetupError(f"no key for {model}: {name} is set, but empty")
    if name in os.environ:
        check_key(os.environ[name], name)
    missing = litellm.validate_environment(model=model)["missing_keys"]
    if missing:
        either = provider == "gemini"  # its keys are two names for one thing
        raise SetupError(f"no key for {model}: set {(' or ' if either else ' and ').join(missing)}")


def _unknown(model: str) -> str:
    provider, slash, rest = model.partition("/")
    bare = rest if slash else model
    known = [name for name, facts in listed_models().items() if facts.get("mode") in {"chat", "responses"}]
    close = difflib.get_close_matches(bare, known, n=3, cutoff=0.6)
    if slash:
        close = [
            f"{each}/{bare}" for each in difflib.get_close_matches(provider, sorted(provider_names()), n=3, cutoff=0.6)
        ] or close
    if not slash and ":" in model.strip(":"):
        return f"unknown model {model!r}: as a model of Ollama's it is named ollama/{model}"
    advice = "name it provider/model, such as openai/gpt-5"
    return f"unknown model {model!r}: {advice}" + (f"; close matches: {', '.join(close)}" if close else "")


def profile(model: str | BaseChatModel, settings: ModelSettings = DEFAULTS) -> Literal["standard", "small"]:
    """Return how strictly the model is to be prompted: `small` for models on this machine or its network."""
    if settings.profile is not None:
        return settings.profile
    members = getattr(model, "members", None) or (isinstance(model, str) and settings.pools.get(model))
    if members:
        named = members.models if isinstance(members, PoolSettings) else members
        return "small" if any(profile(member, settings) == "small" for member in named) else "standard"
    if isinstance(model, BaseChatModel):
        name, address = model_name(model), base_url(model)
        local = model._llm_type == "chat-ollama"
    else:
        there = route(model, settings)
        name, address, local = there.name, there.base_url, False
    if address is not None:
        local = is_private(address)
    elif name.partition("/")[0] in _ON_THIS_MACHINE:
        local = True
    return "small" if local else "standard"


def is_private(url: str) -> bool:
    """Tell whether the URL leads to this machine or its own network. No name is resolved."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".localhost", ".internal", ".lan", ".home.arpa"))
