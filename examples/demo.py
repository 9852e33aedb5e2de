"""The main job, with no key and no network: a question over the source of Python's own standard library.

Everything is the real engine: `rlm-graph run` with its confined REPL, its SQLite checkpoints and the litellm client.
Only the model is a script, served on loopback: it writes the code that a model would write, and answers each sub-call
from the text that it is sent, and from nothing else.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from rlm_graph.testing import ScriptedRequest, ScriptedServer

QUESTION = (
    "Which five modules of Python's standard library, its tests aside, define the most coroutine functions, "
    "and how many does each define?"
)

LOOK = """The context is a folder of source files. First its shape, and which files mention coroutines at all.

```repl
import re
candidates = {path: len(re.findall(r"async\\s+def", text)) for path, text in context.items() if path.endswith(".py")}
candidates = {path: count for path, count in candidates.items() if count and "test" not in path}
print(len(context), "files,", sum(map(len, context.values())), "characters;", len(candidates), "files to ask about")
```"""

ASK = """A pattern also matches comments and strings, so I ask the sub-model to read each candidate.

```repl
paths = sorted(candidates)
answers = llm_query_batched(
    [f"How many coroutine functions does this module define? Reply with one number.\\n\\n{context[p]}" for p in paths]
)
counts = {path: int(answer) for path, answer in zip(paths, answers)}
top = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5])
print(top)
```"""

END = """The counts are in; the answer is in the variable.

```repl
FINAL_VAR("top")
```"""


def model(request: ScriptedRequest) -> str:
    """Stand for the model: as the root it goes by the turns so far, as a sub-model it reads what it was sent."""
    prompt = request.prompt
    if prompt.startswith("How many coroutine functions"):
        return str(coroutines(prompt.partition("\n\n")[2]))
    replies = sum(message["role"] == "assistant" for message in request.messages)
    return (LOOK, ASK, END)[min(replies, 2)]


def coroutines(source: str) -> int:
    """Count the coroutine functions of a module by its syntax tree."""
    return sum(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(ast.parse(source)))


def standard_library(folder: Path) -> Path:
    """Copy this Python's standard library, without what was installed into it."""
    copy = folder / "standard-library"
    unwanted = shutil.ignore_patterns("site-packages", "dist-packages", "__pycache__", "*.so", "*.whl", "config-*")
    shutil.copytree(sysconfig.get_path("stdlib"), copy, ignore=unwanted)
    return copy


def independent(library: Path) -> dict[str, int]:
    """Answer the question without any of the engine."""
    counts: dict[str, int] = {}
    for path in library.rglob("*.py"):
        name = path.relative_to(library).as_posix()
        if "test" not in name and re.search(rb"async\s+def", content := path.read_bytes()):
            counts[name] = coroutines(content.decode())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5])


def main() -> int:
    """Run the job, print the answer beside the independent one, and show the run. 0 if the two agree."""
    print("This demo's model is SCRIPTED: a program on loopback that speaks OpenAI's protocol. All else is real.\n")
    with tempfile.TemporaryDirectory(prefix="rlm-graph-demo-") as folder, ScriptedServer(model) as server:
        library = standard_library(Path(folder))
        files = [path for path in library.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        print(
            f"context   {len(files):,} files, {size / 1e6:.1f} MB: "
            f"the standard library of Python {sys.version.split()[0]}"
        )
        print(f"question  {QUESTION}\n")
        # The run lies in a folder of its own, which goes with the demo. That of the user is left alone.
        environment = {**os.environ, "OPENAI_API_KEY": "scripted", "RLM_DATA_DIR": f"{folder}/data"}
        environment.pop("RLM_DB", None)
        command = [
            sys.executable, "-m", "rlm_graph", "run", QUESTION,
            "--context", str(library), "--model", "openai/gpt-5-mini", "--base-url", server.url, "--json",
        ]  # fmt: skip
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment, check=False)
        if ran.returncode != 0:
            return ran.returncode
        result = json.loads(ran.stdout)
        expected = independent(library)
        print(f"\nanswer       {json.dumps(result['answer'])}")
        print(f"independent  {json.dumps(expected)}  (by a walk over the syntax trees)")
        agree = "yes" if result["answer"] == expected else "NO"
        print(f"agree        {agree}; {server.count} requests reached the model\n")
        print(f"what `rlm-graph logs {result['run']}` shows of the run, which goes when the demo ends:\n", flush=True)
        show = [sys.executable, "-m", "rlm_graph", "logs", result["run"]]
        subprocess.run(show, stdin=subprocess.DEVNULL, env=environment, check=False)
    command_line = os.path.relpath(Path(sys.executable).with_name("rlm-graph"))
    print(f"\nwith a model of your own:   {command_line} run QUESTION -c FILE -m MODEL   (doctor says which it finds)")
    return 0 if result["answer"] == expected else 1


if __name__ == "__main__":
    sys.exit(main())
