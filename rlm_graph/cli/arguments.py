"""The command line before it is read: what shells make of `-c *.txt`, and a flag that lacks its value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlm_graph.cli.helping import Command
from rlm_graph.errors import InputError

_CONTEXT = ("-c", "--context")


class WithContexts(Command):
    """A command whose one `-c` takes several files, as a shell writes them for a pattern: `-c a.txt b.txt`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments. Raises `InputError` for an `--approve` without its value."""
        _check_approve(args)
        needed = sum(1 for parameter in self.params if parameter.param_type_name == "argument")
        return super().parse_args(ctx, gathered(args, needed=needed, valued=_valued(self.params)))


def gathered(args: Sequence[str], *, needed: int, valued: frozenset[str]) -> list[str]:
    """Return the arguments with a `-c` of its own before each further word after a `-c` that is a context too.

    `needed` is how many words the command takes besides options, `valued` the options that take a value. Words after
    the value of a `-c`, up to the next option, are contexts as long as `needed` others are left: in `q -c a b` it is
    `b`, and in `-c a b q` too.
    """
    words: list[int] = []
    after_context: set[int] = set()
    position, in_context = 0, False
    while position < len(args):
        word = args[position]
        if word == "--":
            words += range(position + 1, len(args))
            break
        if word.startswith("-") and len(word) > 1:
            option = _option_with_value(word, valued)
            in_context = option in _CONTEXT or word.startswith("--context=")
            position += 2 if option else 1
            continue
        words.append(position)
        if in_context:
            after_context.add(position)
        position += 1
    extra = len(words) - needed
    chosen = [index for index in words if index in after_context][: max(extra, 0)]
    return [word for index, each in enumerate(args) for word in (("-c", each) if index in chosen else (each,))]


def _option_with_value(word: str, valued: frozenset[str]) -> str:
    """Return the option in `word` whose value is the next one; empty if there is none."""
    if word.startswith("--"):
        return word if word in valued else ""
    for index, letter in enumerate(word[1:], start=1):
        if f"-{letter}" in valued:
            return f"-{letter}" if index == len(word) - 1 else ""
    return ""


def _valued(parameters: Sequence[Any]) -> frozenset[str]:
    options = (each for each in parameters if each.param_type_name == "option")
    return frozenset(name for each in options if not each.is_flag and not each.count for name in each.opts)


def _check_approve(args: Sequence[str]) -> None:
    for word, following in zip(args, [*args[1:], "-"], strict=False):
        if word == "--":
            return
        if word == "--approve" and following.startswith("-"):
            raise InputError("--approve: say before what to wait: --approve code, or --approve subcalls")
