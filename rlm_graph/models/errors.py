"""A provider's failure, in its own words: one line, no key in it, and whether to try again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from rlm_graph.errors import ModelError, RLMError
from rlm_graph.models.connections import proxy_for, without_password
from rlm_graph.surrogates import whole

MAX_CHARS = 600
"""Characters of the provider's words that are kept."""
MAX_PAUSE_S = 60.0
"""The longest pause that a provider is granted."""

_NOT_PROVIDERS = frozenset({"builtins", "langgraph", "pydantic", "pydantic_core", "rlm_graph"})
"""Where exceptions come from that are somebody's mistake or a signal, and no provider's failure."""
_RETRYABLE_STATUS = frozenset({408, 409, 425, 429})
# These are told by words, because servers of one's own report them under any status, even within a stream.
_TOO_LONG = re.compile(
    r"context[ _](length|window|size)|maximum context|max_model_len|(prompt|input|request) is too long|too many tokens",
    re.IGNORECASE,
)
_POLICY = re.compile(r"content_policy_violation|content_filter|rejected as a result of our safety system")
_OUT_OF_MONEY = re.compile(r"insufficient_quota|exceeded your current quota|credit balance|billing", re.IGNORECASE)
_UNREACHABLE = re.compile(r"connection error|cannot connect|connection refused|name or service not", re.IGNORECASE)
_TIMEOUTS = frozenset({"APITimeoutError", "Timeout", "TimeoutError", "TimeoutException"})

# What litellm puts before and after the provider's words.
_BEFORE = re.compile(r"^(litellm\.)?\w*(Error|Exception|Timeout)( Error)?\s*(:|-)\s*")
_AFTER = re.compile(
    r"\s*(Original exception:|Error_str:|Received Model Group=|LiteLLM Retried:|Handle with `litellm\."
    r"|Learn more: https://docs\.litellm).*",
    re.DOTALL,
)
_SECRETS = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|r8|key)[-_][\w*-]{12,}|\bAIza[\w-]{12,}|(?<=[Bb]earer )\S+|(?<=[?&]key=)[^&\s\"']+"
)
_SECRET_VARIABLE = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")


class ServerError(Exception):
    """What a server answered that is no reply, to a request of our own client; as text, its words.

    `status` is HTTP's, None where the server said 200, or nothing; `code` is the one in its words.
    """

    def __init__(
        self, words: str, *, status: int | None = None, code: object = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(words)
        self.status_code = status
        self.code = code if code is not None else ""
        self.headers = headers


class EmptyStream(ServerError):
    """A stream in which there was nothing: perhaps a whole reply, which the client could not read."""


def as_model_error(error: Exception, *, name: str, address: str | None = None) -> ModelError | None:
    """Return the `ModelError` that tells what `error` says of the model `name`, or None if no provider raised it."""
    cause = getattr(error, "original_exception", None)
    inner = cause if isinstance(cause, Exception) else error
    if not _from_provider(inner):
        return None
    kinds = {kind.__name__ for kind in type(inner).__mro__}
    status = _status(inner)
    words = provider_words(inner)
    told = f"{words} {getattr(inner, 'code', '')} {_code_in_json(inner)}"
    too_long = not kinds.isdisjoint({"ContextWindowExceededError", "ContextOverflowError"}) or (
        status not in {401, 403, 404, 429} and _TOO_LONG.search(told) is not None
    )
    if too_long:
        return ModelError(f"{name}: the request exceeds its context window: {words}", too_long=True)
    if "ContentPolicyViolationError" in kinds or _POLICY.search(told):
        return ModelError(f"{name}: refused by the provider's content policy: {words}")
    pause = _pause(inner)
    if not kinds.isdisjoint(_TIMEOUTS) and status in {None, 408}:
        return ModelError(f"{name}: no reply in time: {words}", retryable=True, retry_after_s=pause)
    if _UNREACHABLE.search(words) and status in {None, 500, 503}:
        where = (f" at {address}" if address else "") + _by_proxy(address)
        return ModelError(f"{name}: cannot reach the server{where}; is it running? ({words})", retryable=True)
    if status is None or "APIConnectionError" in kinds:
        return ModelError(f"{name}: {words}", retryable=True, retry_after_s=pause)
    if status in {401, 403}:
        return ModelError(f"{name}: the provider refused the key ({status}): {words}")
    if status == 429 and _OUT_OF_MONEY.search(told):
        return ModelError(f"{name}: the account has nothing left ({status}): {words}")
    if status not in _RETRYABLE_STATUS and status < 500:
        return ModelError(f"{name}: {words} ({status})")
    return ModelError(f"{name}: {words} ({status})", retryable=True, retry_after_s=pause)


def provider_words(error: BaseException) -> str:
    """Return what the provider said: one line, without what the client libraries wrapped it in, and without keys."""
    text = _AFTER.sub("", str(error)).strip()
    while (shorter := _BEFORE.sub("", text, count=1)) != text:
        text = shorter
    text = " ".join((_message_in_json(text) or text).split())
    for secret in _secrets():
        text = text.replace(secret, "[key]")
    text = _SECRETS.sub("[key]", text)
    text = whole(text)
    if len(text) > MAX_CHARS:
        text = text[:MAX_CHARS] + "…"
    return text or type(error).__name__


def _from_provider(error: Exception) -> bool:
    if isinstance(error, RLMError | ServerError):
        return isinstance(error, ServerError)
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] not in _NOT_PROVIDERS


def _status(error: Exception) -> int | None:
    for holder in (error, getattr(error, "response", None)):
        status = getattr(holder, "status_code", None)
        if isinstance(status, int) and status >= 300:
            return status
    return None


def may_have_cost(error: BaseException) -> bool:
    """Tell whether a request that ended with this error, and without a word of a reply, may be charged for all the
    same: it was sent, and the provider did not refuse it."""
    cause = getattr(error, "original_exception", None)
    inner = cause if isinstance(cause, Exception) else error
    if isinstance(inner, asyncio.CancelledError) or not {kind.__name__ for kind in type(inner).__mro__}.isdisjoint(
        _TIMEOUTS
    ):
        return True
    if not isinstance(inner, Exception) or not _from_provider(inner):
        return False
    return _status(inner) is None and _UNREACHABLE.search(str(inner)) is None


def _by_proxy(address: str | None) -> str:
    """Name the proxy that a request takes: it may be what cannot be reached."""
    with contextlib.suppress(ModelError):
        proxy = proxy_for(address or "https://a-provider.invalid")
        return f" through the proxy {without_password(proxy)}" if proxy else ""
    return ""


def _message_in_json(text: str) -> str | None:
    """Dig the message out of a JSON body, which some providers' errors hold whole: `{"error": {"message": ...}}`."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        found: Any = json.loads(text[start : end + 1])
    except ValueError:
        return None
    while isinstance(found, dict):
        found = next((found[key] for key in ("error", "message", "detail") if found.get(key)), None)
    return text[:start] + found if isinstance(found, str) else None


def _code_in_json(error: BaseException) -> str:
    """Return the code in an error's JSON body: some providers' words alone do not tell what it is about."""
    found = re.search(r'"(?:code|type)"\s*:\s*"([^"]+)"', str(error)) if isinstance(error, ServerError) else None
    return found[1] if found else ""


def _secrets() -> Iterator[str]:
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET_VARIABLE.search(name):
            yield value


def _pause(error: Exception) -> float | None:
    for holder in (error, getattr(error, "response", None)):
        headers = getattr(holder, "litellm_response_headers", None) or getattr(holder, "headers", None)
        try:
            told = headers["retry-after"] if headers is not None else None
        except (KeyError, TypeError):
            continue
        if told is not None and (seconds := _seconds(str(told))) is not None:
            return min(max(seconds, 0.0), MAX_PAUSE_S)
    return None


def _seconds(told: str) -> float | None:
    """Read a `Retry-After`: seconds, or the date when they are over (RFC 9110, 10.2.3)."""
    try:
        seconds = float(told)
        return seconds if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(told)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return (date - datetime.now(UTC)).total_seconds()
