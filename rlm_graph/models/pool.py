"""Several models that stand for one, and which of them a request goes to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatResult
from langchain_core.runnables import Runnable
from pydantic import PrivateAttr, SkipValidation

from rlm_graph.models import pacing
from rlm_graph.models.media import media_of
from rlm_graph.models.names import base_url, model_name
from rlm_graph.models.prices import rates, reads, window
from rlm_graph.settings import Policy

REPLY_TOKENS = 500
"""Of a reply, when the prices of two models are compared before there is one."""


class Pool(BaseChatModel):
    """Models that stand for one another: when one fails, the next is asked, in the order of the policy.

    `rlm_graph.models.ask` asks them one by one, so that each reply has the price of the model that wrote it.
    """

    model: str
    """What the pool goes by."""
    members: SkipValidation[Sequence[BaseChatModel]]
    policy: Policy = "first"

    _turns: Iterator[int] = PrivateAttr(default_factory=itertools.count)

    @property
    def _llm_type(self) -> str:
        return "pool"

    def candidates(self, messages: Sequence[BaseMessage]) -> list[BaseChatModel]:
        """Return the members in the order in which they are to be asked. Those that can read the messages come first,
        and of these the ones whose providers have asked for no pause."""
        members = list(self.members)
        if self.policy == "balanced":
            start = next(self._turns) % len(members)
            members = members[start:] + members[:start]
        elif self.policy == "cheapest":
            given = count_tokens_approximately(messages)
            members.sort(key=lambda member: _cost(member, given))
        return sorted(members, key=lambda member: (not _can_read(member, messages), _pause_s(member) > 0))

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer the tools, in OpenAI's form; each member is given them in its own when it is asked."""
        return self.bind(tools=list(tools), **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Ask the first member alone, for those who call the pool as any other chat model."""
        return self.candidates(messages)[0]._generate(messages, stop=stop, run_manager=run_manager, **kwargs)


def destination(model: BaseChatModel) -> str:
    """Name where the requests of a model go: whoever asks the same one keeps the same pauses."""
    return f"{model_name(model)} at {base_url(model)}"


def _cost(model: BaseChatModel, input_tokens: int) -> float:
    prices = rates(model)
    return float("inf") if prices is None else prices[0] * input_tokens + prices[1] * REPLY_TOKENS


def _can_read(model: BaseChatModel, messages: Sequence[BaseMessage]) -> bool:
    if any(reads(model, medium) is False for medium in media_of(messages)):
        return False
    return count_tokens_approximately(messages) <= window(model)


def _pause_s(model: BaseChatModel) -> float:
    return pacing.seconds_to_wait(destination(model))
