"""What can be set of models: how they are reached, what they cost, which stand for one another."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from rlm_graph.settings.marks import Guarded, Harmless
from rlm_graph.value import Value


class ModelPrice(Value):
    """What a model charges, in US dollars for a million tokens."""

    input_usd: NonNegativeFloat
    output_usd: NonNegativeFloat


Policy = Literal["first", "balanced", "cheapest"]


class PoolSettings(Value):
    """Models that stand for one another, under one name."""

    models: Annotated[tuple[str, ...], Field(min_length=1)]
    """Their names. When one fails, the next is asked."""
    policy: Policy = "first"
    """Which is asked first: the first of the list, each in its turn, or the cheapest that can read the request."""


class ModelSettings(Value):
    """How models are reached. Keys come from the environment alone and are never stored."""

    base_url: Guarded[str | None] = None
    """Of an OpenAI-compatible server; `LLM_BASE_URL` and `OPENAI_BASE_URL` set it too."""
    temperature: Harmless[float | None] = None
    max_retries: Harmless[int] = 3
    """Further tries after a failure that may pass, with growing pauses."""
    request_timeout_s: Harmless[PositiveFloat] = 120.0
    stream: Harmless[bool | None] = None
    """Whether replies are asked for in a stream. By default they are where somebody watches them come; `false` is for
    servers that cannot."""
    client: Harmless[Literal["litellm"] | None] = None
    """`litellm` asks servers that speak OpenAI's protocol by its client too; by default they are asked by our own."""
    max_concurrency: Harmless[PositiveInt] = 64
    """Sub-calls of one batch that are under way at once. A crash can lose the answers to no more than these."""
    batch_loops: Harmless[bool] = True
    """Begin up to 32 calls of a loop ahead, such as `[llm_query(p) for p in prompts]`, where it is plain that none of
    them depends on another. The code is given the same answers at the same places; one whose loop ends early, by an
    exception, may have paid for up to 31 calls that it did not come to."""
    profile: Harmless[Literal["standard", "small"] | None] = None
    """Prompt profile; by default `small` for models on a local server, else `standard`."""
    window_tokens: Harmless[PositiveInt] = 128_000
    """The root model's context window, where litellm does not know it."""
    prices: Harmless[dict[str, ModelPrice]] = Field(default_factory=dict)
    """Prices by the name that the model is asked for with: for models that litellm has no price of, or a wrong one."""

    pools: Harmless[dict[str, PoolSettings]] = Field(default_factory=dict)
    """Models that stand for one another, by a name that can be given wherever a model is named."""
    cache_prompts: Harmless[bool] = True
    """Mark what stays the same between requests, for models of Anthropic, which then read it for a tenth of the price;
    other providers need no marks."""
    cache_ttl_s: Harmless[PositiveInt | None] = None
    """Seconds for which the reply to an equal request is taken from a cache. By default there is no cache."""

    @model_validator(mode="after")
    def _pools_hold_models(self) -> Self:
        for name, pool in self.pools.items():
            if nested := [member for member in pool.models if member in self.pools]:
                raise ValueError(f"the pool {name} holds the pool {nested[0]}; name its models instead")
        return self

    @field_validator("base_url")
    @classmethod
    def _names_a_server_and_no_secret(cls, url: str | None) -> str | None:
        from urllib.parse import urlsplit

        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("not an http:// or https:// address")
        if parts.username or parts.password:
            raise ValueError("holds a user or password; credentials come from the environment, as OPENAI_API_KEY")
        return url
