"""Everything that is said to a model, in plain Markdown, made by pure functions."""

from __future__ import annotations

from rlm_graph.prompts.compacting import compacted, tokens
from rlm_graph.prompts.observing import observation
from rlm_graph.prompts.question import question_prompt
from rlm_graph.prompts.quoting import cut_middle
from rlm_graph.prompts.recalling import recalled
from rlm_graph.prompts.steering import best_effort_prompt, broken_off, compaction_note, correction
from rlm_graph.prompts.system import Profile, system_prompt
from rlm_graph.prompts.tool_calls import native_correction, tool_messages

__all__ = [
    "Profile",
    "best_effort_prompt",
    "broken_off",
    "compacted",
    "compaction_note",
    "correction",
    "cut_middle",
    "native_correction",
    "observation",
    "question_prompt",
    "recalled",
    "system_prompt",
    "tokens",
    "tool_messages",
]
