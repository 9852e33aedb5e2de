"""Runs the engine over a file, in a process of its own: `over_file.py URL FILE FOLDER`. Prints what it saw as JSON."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from parts import engine

from rlm_graph import AgentOptions, Budget, ContextStore, ModelSettings, create_rlm_agent


async def answered(url: str, file: Path, folder: Path) -> dict[str, float]:
    """Answer a question. Return when it was asked, by `time.perf_counter`, and the peak of this process, in MB."""
    async with engine.saver("ours", folder) as opened:
        agent = create_rlm_agent(
            "openai/root",
            checkpointer=opened,
            budget=Budget(timeout_s=None),
            options=AgentOptions(models=ModelSettings(base_url=url), contexts=ContextStore(folder / "contexts")),
        )
        config: Any = {"configurable": {"thread_id": "a run"}}
        asked = time.perf_counter()
        result = await agent.ainvoke({"question": "Go.", "context": file}, config)
        assert result["answer"].complete, result["answer"]
    return {"asked": asked, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    engine.prepare()
    print(json.dumps(asyncio.run(answered(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))))
