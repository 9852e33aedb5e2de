"""What is worked out of a message once, however often a dialogue is walked."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from langchain_core.messages import AIMessage, BaseMessage

T = TypeVar("T")


class _Known(NamedTuple, Generic[T]):
    message: weakref.ref[BaseMessage]
    content: Any
    """As `parts`, `calls` and `extra`, held so that another object at the same address is not taken for it."""
    parts: tuple[Any, ...]
    calls: tuple[Any, ...]
    extra: Any
    name: str | None
    result: T


class OncePerMessage(Generic[T]):
    """A function of a message, called once for each message object, and again if what the message holds was changed.

    What it returns must not hold the message, which is forgotten when nobody else has it.
    """

    def __init__(self, work: Callable[[BaseMessage], T]) -> None:
        self._work = work
        self._known: dict[int, _Known[T]] = {}
        """By the message's address."""

    def __len__(self) -> int:
        """Return how many messages are known."""
        return len(self._known)

    def __call__(self, message: BaseMessage) -> T:
        place = id(message)
        known = self._known.get(place)
        if known is not None and known.message() is message and _unchanged(known, message):
            return known.result
        result = self._work(message)
        content = message.content
        self._known[place] = _Known(
            weakref.ref(message, lambda _: self._known.pop(place, None)),
            content,
            tuple(content) if isinstance(content, list) else (),
            _calls(message),
            message.additional_kwargs,
            message.name,
            result,
        )
        return result


def _unchanged(known: _Known[Any], message: BaseMessage) -> bool:
    content = message.content
    return (
        known.content is content
        and known.extra is message.additional_kwargs
        and known.name is message.name
        and (not known.parts or _same(known.parts, content))
        and (not isinstance(message, AIMessage) or _same(known.calls, message.tool_calls))
    )


def _calls(message: BaseMessage) -> tuple[Any, ...]:
    return tuple(message.tool_calls) if isinstance(message, AIMessage) and message.tool_calls else ()


def _same(ones: tuple[Any, ...], others: Any) -> bool:
    return len(ones) == len(others) and all(one is other for one, other in zip(ones, others, strict=True))
