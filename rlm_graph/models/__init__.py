"""Models: from a name to a chat model, one request with what it cost, and the provider's errors.

Names are litellm's (`provider/model`); any `BaseChatModel` may stand in their place. Nothing here imports litellm,
which takes seconds, until a named model is built or a price is looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlm_graph.lazily import names_in

if TYPE_CHECKING:
    from rlm_graph.models.affording import affordable_tokens as affordable_tokens
    from rlm_graph.models.asking import ModelReply as ModelReply
    from rlm_graph.models.asking import Spent as Spent
    from rlm_graph.models.asking import ask as ask
    from rlm_graph.models.asking import retry_policy as retry_policy
    from rlm_graph.models.asking import tool_options as tool_options
    from rlm_graph.models.chat import chat_model as chat_model
    from rlm_graph.models.chat import check_model as check_model
    from rlm_graph.models.chat import profile as profile
    from rlm_graph.models.endings import Ending as Ending
    from rlm_graph.models.endings import ending as ending
    from rlm_graph.models.endings import not_whole as not_whole
    from rlm_graph.models.errors import as_model_error as as_model_error
    from rlm_graph.models.library import warm_up as warm_up
    from rlm_graph.models.media import media_block as media_block
    from rlm_graph.models.media import unreadable as unreadable
    from rlm_graph.models.names import model_name as model_name
    from rlm_graph.models.prices import has_price as has_price
    from rlm_graph.models.prices import reads as reads
    from rlm_graph.models.prices import window as window
    from rlm_graph.models.replies import ReplyCache as ReplyCache
    from rlm_graph.models.replies import cache_of as cache_of
else:
    __getattr__ = names_in(
        __name__,
        {
            "affording": ("affordable_tokens",),
            "asking": ("ModelReply", "Spent", "ask", "retry_policy", "tool_options"),
            "chat": ("chat_model", "check_model", "profile"),
            "endings": ("Ending", "ending", "not_whole"),
            "errors": ("as_model_error",),
            "library": ("warm_up",),
            "media": ("media_block", "unreadable"),
            "names": ("model_name",),
            "prices": ("has_price", "reads", "window"),
            "replies": ("ReplyCache", "cache_of"),
        },
    )
