"""The history as a model with a small window reads it: shorter, while the state and the REPL keep everything."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.utils import count_tokens_approximately

from rlm_graph.per_message import OncePerMessage
from rlm_graph.prompts.quoting import cut_middle
from rlm_graph.prompts.steering import compaction_note

CHARS_PER_TOKEN = 3.0
"""Fewer than English has, for code and numbers take more tokens than prose."""
FULL, ROOMY = 0.75, 0.4
"""Parts of a window. Beyond the first the history is shortened to the second, so that its beginning stays the same
for many requests, which providers then read from their cache."""
LEAST_CHARS = 400

Form = Literal["whole", "short", "gone"]


def compacted(
    dialogue: Sequence[AnyMessage],
    *,
    window_tokens: int,
    questions: Collection[str | None],
    besides: Sequence[AnyMessage] = (),
) -> list[AnyMessage]:
    """Return the messages of `dialogue` that are sent to a model which can read `window_tokens` tokens.

    First the outputs of the oldest turns go, then those turns as a whole. The last question and the last turn stay,
    and what the model itself wrote in a turn that stays is never rewritten: only when these alone are too long for the
    window is the middle of the longest left out. `questions` are the ids of messages that are the user's own; `besides`
    is what is sent with the dialogue, such as the system message.

    The same dialogue with more at its end is shortened in the same places, until there is no room again.
    """
    taken = tokens(besides)
    # What fits as a whole has fitted at each step on the way there.
    if taken + sum(_tokens.each(dialogue)) <= FULL * window_tokens:
        return list(dialogue)
    steps = list(_steps(dialogue, questions))
    forms: list[Form] = []
    size = 0
    for step in steps:
        forms.append("whole")
        size += step.whole
        if taken + size > FULL * window_tokens:
            size = _shorten(steps, forms, size, room=ROOMY * window_tokens - taken)
    messages = _written(steps, forms)
    if taken + tokens(messages) > FULL * window_tokens:
        return _cut(messages, questions, room=FULL * window_tokens - taken)
    return messages


@dataclass(frozen=True)
class _Step:
    """A question, or a reply of the model with what was said to it."""

    messages: Sequence[AnyMessage]
    is_question: bool
    whole: int
    """Tokens."""

    def size(self, form: Form) -> int:
        """Return the tokens that it takes in that form."""
        if form == "short":
            return sum(map(_tokens_shortened, self.messages))
        return self.whole if form == "whole" else 0


def _steps(dialogue: Sequence[AnyMessage], questions: Collection[str | None]) -> Iterator[_Step]:
    together: list[AnyMessage] = []
    for message in dialogue:
        if together and (isinstance(message, AIMessage) or message.id in questions):
            yield _step(together, questions)
            together = []
        together.append(message)
    if together:
        yield _step(together, questions)


def _step(messages: list[AnyMessage], questions: Collection[str | None]) -> _Step:
    is_question = isinstance(messages[0], HumanMessage) and messages[0].id in questions
    return _Step(messages, is_question, tokens(messages))


def _shorten(steps: Sequence[_Step], forms: list[Form], size: int, *, room: float) -> int:
    """Shorten the steps that have a form, which take `size` tokens, until there is room. Return what they take then."""
    last = len(forms) - 1
    kept = {last, max((at for at in range(len(forms)) if steps[at].is_question), default=last)}
    to: Form
    for to in ("short", "gone"):
        for at in range(last):
            if size <= room:
                return size
            if at not in kept and not (to == "short" and steps[at].is_question):
                size += steps[at].size(to) - steps[at].size(forms[at])
                forms[at] = to
    return size


def _written(steps: Sequence[_Step], forms: Sequence[Form]) -> list[AnyMessage]:
    """Put the steps down in their forms. What is gone is told with the last question, for some models refuse two
    messages of a user in a row."""
    messages: list[AnyMessage] = []
    gone = sum(form == "gone" and not step.is_question for step, form in zip(steps, forms, strict=True))
    asked = max((at for at, step in enumerate(steps) if step.is_question), default=-1)
    for at, (step, form) in enumerate(zip(steps, forms, strict=True)):
        if form == "short":
            messages += map(_shortened, step.messages)
        elif form == "whole":
            first, *others = step.messages
            messages += [_noted(first, gone) if at == asked and gone else first, *others]
    return messages


def _noted(question: AnyMessage, gone: int) -> AnyMessage:
    note = f"{compaction_note(gone)} The code of those turns was removed, too."
    content = question.content
    added = f"{content}\n\n{note}" if isinstance(content, str) else [*content, {"type": "text", "text": note}]
    return question.model_copy(update={"content": added})


def _shortened(message: AnyMessage) -> AnyMessage:
    if isinstance(message, AIMessage) or not isinstance(message, HumanMessage | ToolMessage):
        return message
    short = compaction_note(1)
    return message if len(message.text) <= len(short) else message.model_copy(update={"content": short})


def _cut(messages: Sequence[AnyMessage], questions: Collection[str | None], *, room: float) -> list[AnyMessage]:
    """Leave out the middles of the longest texts, those of questions last, until all fit or little is left of them."""
    cut = list(messages)
    for of_questions in (False, True):
        max_chars = max((len(message.text) for message in cut), default=0)
        while tokens(cut) > room and max_chars > LEAST_CHARS:
            max_chars = max(LEAST_CHARS, max_chars * 3 // 4)
            cut = [
                _clipped(message, max_chars) if of_questions or message.id not in questions else message
                for message in messages
            ]
    return cut


def _clipped(message: AnyMessage, max_chars: int) -> AnyMessage:
    if len(message.text) <= max_chars:
        return message
    if isinstance(message.content, str):
        return message.model_copy(update={"content": cut_middle(message.content, max_chars)})
    media = [block for block in message.content if isinstance(block, dict) and block.get("type") != "text"]
    return message.model_copy(
        update={"content": [{"type": "text", "text": cut_middle(message.text, max_chars)}, *media]}
    )


def tokens(messages: Sequence[BaseMessage]) -> int:
    """Return about how many tokens the messages take, rather too many than too few."""
    return sum(map(_tokens, messages))


# A message's tokens are rounded up, so the sum is what LangChain would count of all together.
_tokens = OncePerMessage(lambda message: count_tokens_approximately([message], chars_per_token=CHARS_PER_TOKEN))
_tokens_shortened = OncePerMessage(
    lambda message: count_tokens_approximately([_shortened(cast(AnyMessage, message))], chars_per_token=CHARS_PER_TOKEN)
)
