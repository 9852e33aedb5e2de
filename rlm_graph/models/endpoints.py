"""Servers that speak OpenAI's protocol: which names lead to one, where it is and which key it takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlm_graph.errors import SetupError
from rlm_graph.models.library import compatible_providers, facts

NO_KEY = "no-key"
"""Sent to a server of one's own where no key is set: such servers ignore it, and some insist on one."""


@dataclass(frozen=True)
class Provider:
    """One whose chat completions are OpenAI's."""

    url: str | None
    """Its base URL; None where there is no usual one."""
    keys: tuple[str, ...]
    """Variables that may hold its key, the first that is set counts."""
    urls: tuple[str, ...] = ()
    """Variables that may name another base URL."""
    needs_key: bool = True
    path: str = ""
    """What a base URL must end with, for servers that speak other protocols too."""


# Base URLs and variables as litellm has them (`get_llm_provider_logic.py`), so that either way leads to one place.
PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider("https://api.openai.com/v1", ("OPENAI_API_KEY",), ("OPENAI_BASE_URL", "OPENAI_API_BASE")),
    "cerebras": Provider("https://api.cerebras.ai/v1", ("CEREBRAS_API_KEY",), ("CEREBRAS_API_BASE",)),
    "deepinfra": Provider("https://api.deepinfra.com/v1/openai", ("DEEPINFRA_API_KEY",), ("DEEPINFRA_API_BASE",)),
    "deepseek": Provider("https://api.deepseek.com/beta", ("DEEPSEEK_API_KEY",), ("DEEPSEEK_API_BASE",)),
    "groq": Provider("https://api.groq.com/openai/v1", ("GROQ_API_KEY",), ("GROQ_API_BASE",)),
    "hyperbolic": Provider("https://api.hyperbolic.xyz/v1", ("HYPERBOLIC_API_KEY",), ("HYPERBOLIC_API_BASE",)),
    "lambda_ai": Provider("https://api.lambda.ai/v1", ("LAMBDA_API_KEY",), ("LAMBDA_API_BASE",)),
    "moonshot": Provider("https://api.moonshot.ai/v1", ("MOONSHOT_API_KEY",), ("MOONSHOT_API_BASE",)),
    "novita": Provider("https://api.novita.ai/v3/openai", ("NOVITA_API_KEY",), ("NOVITA_API_BASE",)),
    "nvidia_nim": Provider("https://integrate.api.nvidia.com/v1", ("NVIDIA_NIM_API_KEY",), ("NVIDIA_NIM_API_BASE",)),
    "openrouter": Provider(
        "https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY", "OR_API_KEY"), ("OPENROUTER_API_BASE",)
    ),
    "sambanova": Provider("https://api.sambanova.ai/v1", ("SAMBANOVA_API_KEY",), ("SAMBANOVA_API_BASE",)),
    "together_ai": Provider(
        "https://api.together.ai/v1",
        ("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN"),
        ("TOGETHER_AI_API_BASE",),
    ),
    "vercel_ai_gateway": Provider(
        "https://ai-gateway.vercel.sh/v1", ("VERCEL_AI_GATEWAY_API_KEY",), ("VERCEL_AI_GATEWAY_API_BASE",)
    ),
    "xai": Provider("https://api.x.ai/v1", ("XAI_API_KEY",), ("XAI_API_BASE",)),
    # Servers of one's own.
    "custom_openai": Provider(None, ("OPENAI_API_KEY",), (), needs_key=False),
    "hosted_vllm": Provider(None, ("HOSTED_VLLM_API_KEY",), ("HOSTED_VLLM_API_BASE",), needs_key=False),
    "litellm_proxy": Provider(None, ("LITELLM_PROXY_API_KEY",), ("LITELLM_PROXY_API_BASE",), needs_key=False),
    "llamafile": Provider("http://127.0.0.1:8080/v1", ("LLAMAFILE_API_KEY",), ("LLAMAFILE_API_BASE",), needs_key=False),
    "lm_studio": Provider("http://localhost:1234/v1", ("LM_STUDIO_API_KEY",), ("LM_STUDIO_API_BASE",), needs_key=False),
    # Ollama's own protocol is at the root, OpenAI's under /v1: a base URL may be given either way.
    "ollama": Provider("http://localhost:11434", ("OLLAMA_API_KEY",), ("OLLAMA_API_BASE",), False, "/v1"),
    "ollama_chat": Provider("http://localhost:11434", ("OLLAMA_API_KEY",), ("OLLAMA_API_BASE",), False, "/v1"),
    "openai_like": Provider(None, ("OPENAI_LIKE_API_KEY",), ("OPENAI_LIKE_API_BASE",), needs_key=False),
}
"""By litellm's name. `compatible_providers` has more, from litellm's data."""


def account(provider: str) -> dict[str, str]:
    """Return the headers that say which organization and project pay, as the environment names them for OpenAI.

    Source: `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID` of OpenAI's own client.
    """
    if provider != "openai":
        return {}
    named = {"openai-organization": "OPENAI_ORG_ID", "openai-project": "OPENAI_PROJECT_ID"}
    return {header: value for header, variable in named.items() if (value := os.environ.get(variable))}


@dataclass(frozen=True)
class Endpoint:
    """Where the requests for a model go."""

    provider: str
    model: str
    """As the server knows it."""
    url: str
    """Of the server, up to and without `/chat/completions`."""
    key: str | None
    key_name: str
    """The variable that the key is from or would be; for messages."""

    def __repr__(self) -> str:
        return f"Endpoint({self.provider!r}, {self.model!r}, {self.url!r})"


def endpoint(name: str, base_url: str | None = None, key: tuple[str, str] | None = None) -> Endpoint | None:
    """Return where the model of that name is asked by OpenAI's protocol; None where another client must.

    `base_url` is where the user wants it asked, and `key` the key for there with the variable that it is from.
    """
    label, slash, model = name.partition("/")
    if not slash:
        # A bare name is OpenAI's if litellm lists it so.
        label, model = str((facts(name) or {}).get("litellm_provider", "")), name
    if label == "openai" and (facts(name) or facts(model) or {}).get("mode") not in {None, "chat"}:
        return None  # for the Responses API
    provider = known(label)
    if provider is None or model.startswith("responses/"):
        return None
    url = base_url or _set(provider.urls)[1] or provider.url
    if url is None:
        return None
    url = url.rstrip("/").removesuffix("/chat/completions")
    if not url.endswith(provider.path):
        url += provider.path
    key_name, value = key or _set(provider.keys)
    return Endpoint(label, model, url, value or (None if provider.needs_key else NO_KEY), key_name or provider.keys[0])


def known(provider: str) -> Provider | None:
    """Return what is known of a provider whose protocol is OpenAI's."""
    if provider in PROVIDERS:
        return PROVIDERS[provider]
    listed = compatible_providers().get(provider)
    if listed is None:
        return None
    base = listed.get("api_base_env")
    return Provider(listed["base_url"], (listed["api_key_env"],), (base,) if base else ())


def missing_key(there: Endpoint, asked_as: str) -> None:
    """Raise `SetupError` if the provider needs a key and none is set, or the one that is set cannot be sent."""
    if there.key is None:
        names = PROVIDERS[there.provider].keys if there.provider in PROVIDERS else (there.key_name,)
        for name in names:
            if name in os.environ:
                raise SetupError(f"no key for {asked_as}: {name} is set, but empty")
        raise SetupError(f"no key for {asked_as}: set {names[0]}")
    check_key(there.key, there.key_name)


def check_key(key: str, name: str) -> None:
    """Raise `SetupError` if the key from the variable `name` cannot stand in a header, as after a careless paste."""
    if key.splitlines() != [key]:
        raise SetupError(f"the key in {name} holds a line end; set it without")
    if odd := next((character for character in key if not 32 < ord(character) < 127), None):
        what = "a space" if odd == " " else f"the character {odd!a}, which no key has"
        raise SetupError(f"the key in {name} holds {what}; copy the key again")


def _set(names: Sequence[str]) -> tuple[str, str]:
    """Return the first of the variables that is set, and its value; twice nothing if none is."""
    return next(((name, value) for name in names if (value := os.environ.get(name, "")).strip()), ("", ""))
