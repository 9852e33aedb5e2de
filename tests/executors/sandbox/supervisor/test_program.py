"""What a worker that is another program prints."""

from __future__ import annotations

from rlm_graph.executors.sandbox.supervisor.output import BoundedOutput
from rlm_graph.executors.sandbox.supervisor.program import Packets


def test_bytes_that_are_no_packet_are_told_as_errors() -> None:
    outputs = {"stdout": BoundedOutput(1000), "stderr": BoundedOutput(1000)}
    packets = Packets(outputs)
    stream = (
        b"\x01\x00\x00\x00\x05hello\x02\x00\x00\x00\x03err\x01\x00\x00\x00\x00\x01\x00\x00\x00\x01!fatal: no memory\n"
    )

    for byte in stream:
        packets.take(bytes([byte]))
    whole = {"stdout": BoundedOutput(1000), "stderr": BoundedOutput(1000)}
    Packets(whole).take(stream)

    assert outputs["stdout"].take()[0] == "hello!"
    assert outputs["stderr"].take()[0] == "errfatal: no memory\n"
    assert [whole[name].take()[0] for name in ("stdout", "stderr")] == ["hello!", "errfatal: no memory\n"]
