"""A chat model for servers that speak OpenAI's protocol, over connections that are kept."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import SecretStr

from rlm_graph import bridge
from rlm_graph.models import connections, habits
from rlm_graph.models.endpoints import account
from rlm_graph.models.errors import ServerError
from rlm_graph.models.merging import merged
from rlm_graph.models.openai_messages import dumped, encoded, marked
from rlm_graph.models.openai_replies import MAX_BYTES, chunk_of, events, message_of, parsed, raise_for_error
from rlm_graph.models.spending import under_way

if TYPE_CHECKING:
    from aiohttp import ClientResponse

CLOSING_S = 0.2
"""Seconds that the end of a body is waited for when all of the reply is there."""

_BETWEEN_LINES = re.compile(rb"\}[ \t]*\r?\n[ \t]*\{")
_NOT_SENT = frozenset({"stream", "extra_body", "extra_headers"})
"""Options that are not fields of the request."""
_CHOICES = {True: "required", "any": "required"}


class OpenAIChat(BaseChatModel):
    """A model behind `POST {url}/chat/completions`.

    It makes each request once. What a server is known to refuse is left out and asked again without: `stream_options`,
    and whichever name of the limit of tokens it does not take. Its errors are the server's words, see `ServerError`.
    """

    model: str
    """What it goes by, with its provider."""
    provider: str
    server_model: str
    """What the server calls it."""
    url: str
    """Of the server, without `/chat/completions`."""
    api_base: str | None = None
    """The server's address where the user named it."""
    api_key: SecretStr
    temperature: float | None = None
    request_timeout_s: float = 120.0
    """Seconds without a byte after which a server is given up."""
    streaming: bool | None = None
    marks: bool = False
    """Whether to mark what the provider may keep: the rules, and all that was said so far."""

    @property
    def _llm_type(self) -> str:
        return "openai-protocol"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model": self.model, "url": self.url, "temperature": self.temperature}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(ls_provider=self.provider, ls_model_name=self.server_model, ls_model_type="chat")

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer the tools. `tool_choice` is OpenAI's, or `True` or `any` for at least one, or the name of a tool."""
        formatted = [convert_to_openai_tool(tool) for tool in tools]
        choice = _CHOICES.get(tool_choice, tool_choice) if isinstance(tool_choice, str | bool) else tool_choice
        if isinstance(choice, str) and choice in {tool.get("function", {}).get("name") for tool in formatted}:
            choice = {"type": "function", "function": {"name": choice}}
        return self.bind(tools=formatted, **({"tool_choice": choice} if choice else {}), **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return bridge.run_blocking(self._agenerate(messages, stop, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = await self.reply_to(messages, stop, **kwargs)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def reply_to(
        self, messages: Sequence[BaseMessage], stop: list[str] | None = None, **kwargs: Any
    ) -> AIMessage:
        """Return the reply to a request that no callback hears of: `ainvoke` without LangChain's half of its cost."""
        async with self._asked(messages, self._options(stop, kwargs), kwargs) as response:
            answer = await _reply(response)
            return answer if isinstance(answer, AIMessage) else await _together(answer)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        options = {**self._options(stop, kwargs), "stream": True}
        options.setdefault("stream_options", {"include_usage": True})
        async with self._asked(messages, options, kwargs) as response:
            answer = await _reply(response)
            if isinstance(answer, AIMessage):
                yield ChatGenerationChunk(message=_as_chunk(answer))
                return
            async with aclosing(answer):
                async for chunk in answer:
                    yield ChatGenerationChunk(message=chunk)

    def _options(self, stop: list[str] | None, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a request besides model and messages."""
        own = {"temperature": self.temperature, "stop": stop}
        options = {name: value for name, value in own.items() if value is not None}
        options |= {name: value for name, value in given.items() if name not in _NOT_SENT and value is not None}
        return {**options, **(given.get("extra_body") or {})}

    @asynccontextmanager
    async def _asked(
        self, messages: Sequence[BaseMessage], options: dict[str, Any], given: Mapping[str, Any]
    ) -> AsyncIterator[ClientResponse]:
        """Make the request and give the response, whose status is good. Raises `ServerError` for any other."""
        said = b",".join(self._encoded(messages))
        while True:
            options = self._as_the_server_likes(options)
            async with self._posted(self._body(said, options), given.get("extra_headers") or {}) as response:
                if response.status == 200:
                    yield response
                    return
                if (attempt := under_way.get()) is not None:
                    attempt.sent = False  # a refusal is not charged
                error = await _refusal(response)
            habit = habits.habit_in(str(error), options)
            if habit is None or habits.has(self._destination, habit):
                raise error
            habits.learn(self._destination, habit)

    @property
    def _destination(self) -> str:
        return f"{self.server_model} at {self.url}"

    def _as_the_server_likes(self, options: dict[str, Any]) -> dict[str, Any]:
        if habits.has(self._destination, "no stream_options"):
            options = {name: value for name, value in options.items() if name != "stream_options"}
        if "max_tokens" in options or "max_completion_tokens" in options:
            limit = options.get("max_tokens", options.get("max_completion_tokens"))
            newer = habits.has(self._destination, "max_completion_tokens") or (
                # OpenAI's own models of today refuse the older name, its other models take both.
                self.url.startswith("https://api.openai.com/") and not habits.has(self._destination, "max_tokens")
            )
            rest = {name: value for name, value in options.items() if not name.startswith("max_")}
            options = {**rest, "max_completion_tokens" if newer else "max_tokens": limit}
        return options

    def _encoded(self, messages: Sequence[BaseMessage]) -> list[bytes]:
        parts = encoded.each(messages)
        if self.marks and messages:
            parts = list(parts)
            places = {index for index, message in enumerate(messages) if message.type == "system"}
            for index in places | {len(messages) - 1}:
                parts[index] = marked(messages[index])
        return parts

    def _body(self, said: bytes, options: Mapping[str, Any]) -> bytes:
        head = dumped({"model": self.server_model, **options})
        return b"".join([head[:-1], b',"messages":[', said, b"]}"])

    @asynccontextmanager
    async def _posted(self, body: bytes, headers: Mapping[str, str]) -> AsyncIterator[ClientResponse]:
        from aiohttp import ClientHttpProxyError, ClientProxyConnectionError, ClientTimeout

        client = await connections.session()
        url = f"{self.url}/chat/completions"
        proxy = connections.proxy_for(url)
        try:
            async with client.post(
                url,
                data=io.BytesIO(body),
                headers={
                    "authorization": f"Bearer {self.api_key.get_secret_value()}",
                    "content-type": "application/json",
                    **account(self.provider),
                    **headers,
                },
                proxy=proxy,
                timeout=ClientTimeout(sock_connect=self.request_timeout_s, sock_read=self.request_timeout_s),
                # A redirect could take the key to another host.
                allow_redirects=False,
                trace_request_ctx=under_way.get(),
            ) as response:
                yield response
        except (ClientProxyConnectionError, ClientHttpProxyError) as error:
            named = connections.without_password(proxy or "")
            problem = f"the proxy {named}, which the environment names, does not let the request through: {error}"
            raise ServerError(problem) from error


async def _reply(response: ClientResponse) -> AIMessage | AsyncGenerator[AIMessageChunk, None]:
    """Return the message of a reply, or its pieces if it is streamed: as the server chose, whatever it was asked."""
    if response.content_type == "text/event-stream":
        return _chunks(response.content.iter_any())
    body = await _read(response, MAX_BYTES)
    # A stream, though its type does not say so: of events, or of lines of JSON, between which stands no comma.
    if body.lstrip().startswith((b"data:", b"event:", b": ")) or _BETWEEN_LINES.search(body):
        return _chunks(_in_one_piece(body))
    return message_of(parsed(body, response.content_type))


async def _together(chunks: AsyncGenerator[AIMessageChunk, None]) -> AIMessage:
    """Return the message that a stream makes. Should it break off, the attempt has what came until then."""
    attempt = under_way.get()
    pieces: list[AIMessage] = [] if attempt is None else attempt.pieces
    async with aclosing(chunks):
        async for chunk in chunks:
            pieces.append(chunk)
    return merged(pieces)


async def _in_one_piece(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _chunks(pieces: AsyncIterator[bytes]) -> AsyncGenerator[AIMessageChunk, None]:
    """Yield a streamed reply in pieces; the last one tells how it ended, and what the server says that it used.

    Raises `ServerError` for a stream that ends before the reply does, and for an error within it.
    """
    from aiohttp import ClientError

    last = AIMessageChunk(content="")
    done = False
    async with aclosing(events(pieces)) as coming:
        try:
            async for event in coming:
                if done := event is None:
                    break
                raise_for_error(event)
                chunk = chunk_of(event)
                # Some servers name both with each piece: LangChain would add them up.
                last.usage_metadata = chunk.usage_metadata or last.usage_metadata
                last.response_metadata |= chunk.response_metadata
                chunk.usage_metadata, chunk.response_metadata = None, {}
                if chunk.content or chunk.tool_call_chunks or chunk.additional_kwargs:
                    yield chunk
        except ClientError:
            if not last.response_metadata:
                raise
            # All was said; only the closing is missing.
    if not done and not last.response_metadata:
        raise ServerError("the stream ended before the reply did")
    yield last
    # A connection can be kept once the body has ended, which some servers are slow to say.
    with suppress(TimeoutError, ClientError):
        async with asyncio.timeout(CLOSING_S):
            async for _ in pieces:
                pass


async def _refusal(response: ClientResponse) -> ServerError:
    body = (await _read(response, 100_000)).decode("utf-8", "replace")
    if 300 <= response.status < 400:
        where = response.headers.get("location", "nowhere")
        body = f"the server redirects to {where}; give the address that it is to be asked at as the base URL"
    return ServerError(body or response.reason or "", status=response.status, headers=response.headers)


async def _read(response: ClientResponse, most: int) -> bytes:
    pieces: list[bytes] = []
    async for piece in response.content.iter_any():
        pieces.append(piece)
        most -= len(piece)
        if most < 0:
            break
    if most < 0 and response.status == 200:
        raise ServerError(f"the server sent a reply of over {MAX_BYTES:,} bytes")
    return b"".join(pieces)


def _as_chunk(message: AIMessage) -> AIMessageChunk:
    calls = [
        tool_call_chunk(name=call["name"], args=dumped(call["args"]).decode(), id=call["id"], index=index)
        for index, call in enumerate(message.tool_calls)
    ]
    broken = [
        tool_call_chunk(name=call["name"], args=call["args"], id=call["id"], index=index)
        for index, call in enumerate(message.invalid_tool_calls, start=len(calls))
    ]
    return AIMessageChunk(
        content=message.content,
        tool_call_chunks=[*calls, *broken],
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata,
    )
