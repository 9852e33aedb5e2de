"""Cells in the language of the shell."""

from __future__ import annotations

import pytest

from rlm_graph.executors.docker import DockerExecutor
from tests.executors.docker.conftest import notebook, settings

pytestmark = pytest.mark.docker


OWN_SESSION = """
python3 -S -c '
import os
os.setsid()
print("apart", flush=True)
while True: pass' > said &
until read -r line 2> /dev/null < said; do :; done; echo "$line"
"""


@pytest.fixture
def executor(docker_image: str) -> DockerExecutor:
    return DockerExecutor(settings(docker_image, bash=True))


async def test_a_shell_cell_prints_and_fails_as_python_does(executor: DockerExecutor) -> None:
    async with notebook(executor) as book:
        await book.run("open('f', 'w').write('from python')")
        shown = await book.run('read -r line < f; echo "$line"; echo $((6 * 7)) >&2; echo x > g', language="bash")
        failed = await book.run("echo first; exit 3", language="bash")
        missing = await book.run("nothing-of-that-name", language="bash")
        back = await book.run("import os\nopen('g').read(), os.getuid()")
        user = await book.run('echo "$UID"', language="bash")

    assert (shown.status, shown.stdout, shown.stderr) == ("ok", "from python\n", "42\n")
    assert (failed.status, failed.stdout) == ("error", "first\n")
    assert failed.error is not None
    assert "exit status 3" in failed.error.message
    assert "command not found" in missing.stderr
    assert back.value == f"('x\\n', {user.stdout.strip()})"
    assert user.stdout.strip() != "0"


async def test_a_shell_cell_leaves_nothing_running_and_ends_at_the_deadline(executor: DockerExecutor) -> None:
    count = "import os\nlen([p for p in os.listdir('/proc') if p.isdigit()])"
    async with notebook(executor) as book:
        before = await book.run(count)
        endless = await book.run("echo begun; while :; do :; done", language="bash", timeout_s=0.5)
        left = await book.run("(while :; do :; done) & echo started", language="bash")
        apart = await book.run(OWN_SESSION, language="bash")
        after = await book.run(count)

    assert endless.error is not None
    assert (endless.error.type, endless.stdout) == ("TimeoutError", "begun\n")
    assert (left.stdout, apart.stdout) == ("started\n", "apart\n")
    assert after.value == before.value


async def test_it_is_off_by_default_and_the_model_reads_so(docker_image: str) -> None:
    async with notebook(DockerExecutor(settings(docker_image))) as book:
        refused = await book.run("echo hello", language="bash")
        after = await book.run("1")

    assert refused.error is not None
    assert "write Python" in refused.error.message
    assert (refused.stdout, after.value) == ("", "1")
