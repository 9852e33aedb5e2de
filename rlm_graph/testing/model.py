"""A chat model whose replies are scripted, in the same process as who asks it."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolCall, ToolCallChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import PrivateAttr, SkipValidation

from rlm_graph.bridge import in_thread
from rlm_graph.testing.script import ScriptedReply, count_tokens

Answer = AIMessage | ScriptedReply | str | Exception
"""A reply; an exception is raised in its place."""


class ScriptedModel(BaseChatModel):
    """A `BaseChatModel` that answers by a script, streamed or whole, in sync or async code and from any thread.

        ScriptedModel(["first reply", AIMessage("second", tool_calls=[...]), ModelError("busy", retryable=True)])
        ScriptedModel(lambda messages: messages[-1].text.upper())

    Tokens are counted by `count_tokens`, so equal runs use equal tokens. Of a `ScriptedReply` it takes the text, the
    tool calls and the tokens; the rest is for `ScriptedServer`. Raises `IndexError` when a list of replies has ended.
    """

    replies: SkipValidation[Sequence[Answer] | Callable[[Sequence[BaseMessage]], Answer]]
    """In the order of the calls, or a function of the conversation."""
    model: str = "scripted"
    """What it goes by."""
    chunk_chars: int = 16
    """Characters of one streamed chunk."""

    _calls: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def __init__(self, replies: Sequence[Answer] | Callable[[Sequence[BaseMessage]], Answer], **fields: Any) -> None:
        super().__init__(replies=replies, **fields)  # type: ignore[call-arg]  # pydantic's own, by field

    @property
    def calls(self) -> list[list[BaseMessage]]:
        """The conversations that it was asked to continue, in order."""
        with self._lock:
            return list(self._calls)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with the tools among what each call is given; whether it uses them is up to the script."""
        return self.bind(tools=list(tools), **kwargs)

    def _answer(self, messages: list[BaseMessage]) -> AIMessage:
        with self._lock:
            self._calls.append(list(messages))
            number = len(self._calls)
        if callable(self.replies):
            answer = self.replies(messages)
        elif number <= len(self.replies):
            answer = self.replies[number - 1]
        else:
            raise IndexError(f"the script has {len(self.replies)} replies, and this is call {number}")
        if isinstance(answer, Exception):
            raise answer
        return _message(answer, messages)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return _result(self._answer(messages))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # In the loop and not in a thread, as the inherited method has it: calls then start in the order of the code.
        message = self._answer(messages)
        large = isinstance(message.content, str) and len(message.content) >= _LARGE_CHARS
        return await in_thread(_result, message) if large else _result(message)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._chunks(self._answer(messages)):
            if run_manager is not None:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks(self._answer(messages)):
            if run_manager is not None:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _chunks(self, message: AIMessage) -> Iterator[ChatGenerationChunk]:
        def chunk(**fields: Any) -> ChatGenerationChunk:
            return ChatGenerationChunk(message=AIMessageChunk(id=message.id, **fields))

        if isinstance(message.content, str):
            for start in range(0, len(message.content), self.chunk_chars):
                yield chunk(content=message.content[start : start + self.chunk_chars])
        else:
            yield chunk(content=message.content)
        for index, call in enumerate(message.tool_calls):
            yield chunk(content="", tool_call_chunks=[_call_chunk(index, call)])
        yield chunk(
            content="",
            additional_kwargs=message.additional_kwargs,
            response_metadata=message.response_metadata,
            usage_metadata=message.usage_metadata,
        )


def _call_chunk(index: int, call: ToolCall) -> ToolCallChunk:
    return tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index)


_LARGE_CHARS = 1 << 20
"""Of a reply, of which LangChain's classes make some copies."""


def _result(message: AIMessage) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=message)])


def _text_of(message: BaseMessage) -> str:
    return message.content if isinstance(message.content, str) else message.text  # which is a copy


def _message(answer: AIMessage | ScriptedReply | str, messages: Sequence[BaseMessage]) -> AIMessage:
    if isinstance(answer, AIMessage):
        message, reply = answer, ScriptedReply(answer.text)
    else:
        reply = ScriptedReply(answer) if isinstance(answer, str) else answer
        calls = [
            ToolCall(name=call.name, args=dict(call.arguments), id=call.id or f"call_{position}", type="tool_call")
            for position, call in enumerate(reply.tool_calls, start=1)
            if not isinstance(call.arguments, str)
        ]
        message = AIMessage(reply.text or "", tool_calls=calls)
    if message.usage_metadata is not None or not reply.usage:
        return message
    given, written = reply.input_tokens, reply.output_tokens
    given = count_tokens("\n".join(map(_text_of, messages))) if given is None else given
    written = count_tokens(reply.text or "") if written is None else written
    usage = UsageMetadata(input_tokens=given, output_tokens=written, total_tokens=given + written)
    return message.model_copy(update={"usage_metadata": usage})
