"""What is worked out of a message once, however often a dialogue is walked."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
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


class _Walk(NamedTuple, Generic[T]):
    """A dialogue as it was when it was walked last, and what came of each message."""

    second: weakref.ref[BaseMessage]
    fields: list[dict[str, Any]]
    results: list[T]


class OncePerMessage(Generic[T]):
    """A function of a message, called once for each message object, and again if what the message holds was changed.

    What it returns must not hold the message, which is forgotten when nobody else has it.
    """

    def __init__(self, work: Callable[[BaseMessage], T]) -> None:
        self._work = work
        self._known: dict[int, _Known[T]] = {}
        """By the message's address."""
        self._walks: dict[int, _Walk[T]] = {}
        """By the address of a dialogue's second message: many may begin with the same rules."""

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

    def each(self, messages: Sequence[BaseMessage]) -> list[T]:
        """Return the result for each message of a dialogue.

        Of one that has grown since it was walked last, only what is new is looked at by itself: that nothing before was
        changed is seen by one comparison, which walks no message in Python.
        """
        if len(messages) < 2:
            return list(map(self, messages))
        second = messages[1]
        place = id(second)
        walk = self._walks.get(place)
        known = 0 if walk is None or walk.second() is not second else len(walk.fields)
        if walk is None or not known or list(map(vars, messages[:known])) != walk.fields:
            fresh = _Walk[T](weakref.ref(second, lambda _: self._walks.pop(place, None)), [], [])
        else:
            fresh = walk
        known = len(fresh.fields)
        new = messages[known:]
        walked = _Walk(fresh.second, [*fresh.fields, *map(_fields, new)], [*fresh.results, *map(self, new)])
        self._walks[place] = walked
        return walked.results


def _fields(message: BaseMessage) -> dict[str, Any]:
    """Return what the message holds, so that another item in one of its lists is noticed too."""
    return {name: value.copy() if type(value) is list else value for name, value in vars(message).items()}


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
