"""Tools: functions of the host that code calls by name. They run on the host, so no credential enters the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlm_graph.lazily import names_in

if TYPE_CHECKING:
    from rlm_graph.tools.calling import use as use
    from rlm_graph.tools.functions import HostFunction as HostFunction
    from rlm_graph.tools.functions import host_functions as host_functions
    from rlm_graph.tools.functions import retrieval_of as retrieval_of
    from rlm_graph.tools.offered import OfferedTools as OfferedTools
else:
    __getattr__ = names_in(
        __name__,
        {
            "calling": ("use",),
            "functions": ("HostFunction", "host_functions", "retrieval_of"),
            "offered": ("OfferedTools",),
        },
    )
