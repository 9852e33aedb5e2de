"""What is said when a reply cannot be used, when a ceiling is met, and when the history was shortened."""

from __future__ import annotations

from rlm_graph.budget import Ceiling

_CEILINGS: dict[Ceiling, str] = {
    "max_turns": "all turns are used",
    "max_cost_usd": "the money is spent",
    "max_tokens": "the tokens are used",
    "timeout_s": "the time is over",
    "max_subcalls": "all sub-calls are used",
    "max_subcalls_per_session": "all sub-calls of this conversation are used",
    "max_subcalls_per_turn": "the sub-calls of the turn are used",
    "max_depth": "no deeper call is allowed",
}

_BROKEN_OFF = {
    "cut": "Your reply was cut at the limit of tokens, and what had no end was not taken. Go on from there in shorter "
    "replies: a few lines of thought and one short piece of code.",
    "filtered": "The provider held back your reply, or a part of it, and what had no end was not taken. Go on in other "
    "words, and quote less of the input.",
    "refused": "You declined to reply, so nothing was done. Go on with the question; if it must not be answered, "
    "finish with an answer that says so.",
}


def correction(problem: str) -> str:
    """Return a correction, with the two forms that a reply may have."""
    return (
        f"{problem}\n\n"
        "Reply with code:\n\n```repl\nprint(ctx)\n```\n\n"
        "or, once you know the answer from what your code printed, with one line:\n\nFINAL(the answer)"
    )


def broken_off(ending: str) -> str | None:
    """Return what a model is told of its reply that was `cut`, `filtered` or `refused`; None of one that ended well.

    An empty reply is told of as any other that holds neither code nor an answer.
    """
    return _BROKEN_OFF.get(ending)


def best_effort_prompt(ceiling: Ceiling | None) -> str:
    """Ask for the answer without any more work. No code runs after this."""
    reason = "No more code can run" if ceiling is None else f"No more code can run: {_CEILINGS[ceiling]}"
    return (
        f"{reason}. Give the best final answer that the evidence so far allows, as plain text, now. "
        "Write no code and no plan. Where the evidence does not settle something, say so in a few words."
    )


def compaction_note(turns: int) -> str:
    """Tell the model that the output of `turns` earlier turns no longer stands in its history."""
    what = "an earlier turn was" if turns == 1 else f"{turns:,} earlier turns was"
    return (
        f"Note: to save room, the output of {what} removed from this conversation. The REPL still holds every "
        "variable: SHOW_VARS() lists them, and you can print again what you need."
    )
