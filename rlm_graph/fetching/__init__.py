"""Asking a server that somebody else has named: which addresses may be asked, and how much is read of an answer.

`addresses` tells public addresses from those that lead inside, `guard` checks each request and addresses it to what was
checked, `body` bounds what an answer becomes. Contexts and the tool `web_fetch` both go through it.
"""

from __future__ import annotations

from rlm_graph.fetching.body import Body, TooLarge
from rlm_graph.fetching.guard import REDIRECTS, Guard, Origin, Resolve, Target, resolve, without_user

__all__ = ["REDIRECTS", "Body", "Guard", "Origin", "Resolve", "Target", "TooLarge", "resolve", "without_user"]
