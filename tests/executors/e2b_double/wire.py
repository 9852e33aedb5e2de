"""The Connect protocol as E2B's agent speaks it: JSON messages, in envelopes where there is a stream of them.

Source: https://connectrpc.com/docs/protocol.
"""

from __future__ import annotations

import json
import struct
from typing import Any

from aiohttp import web

STATUSES = {
    "invalid_argument": 400, "unauthenticated": 401, "not_found": 404, "already_exists": 409, "unavailable": 503,
}  # fmt: skip
END = 0b10


def envelope(message: dict[str, Any], flags: int = 0) -> bytes:
    """Return a message of a stream; the last one has the flag `END`."""
    body = json.dumps(message).encode()
    return struct.pack(">BI", flags, len(body)) + body


def opened(data: bytes) -> dict[str, Any]:
    """Return the one message that a request with envelopes holds."""
    _, length = struct.unpack(">BI", data[:5])
    assert len(data) == 5 + length, "a request holds one envelope"
    message: dict[str, Any] = json.loads(data[5:])
    return message


def refusal(code: str, words: str) -> web.Response:
    """Return what a call that fails is answered with."""
    return web.json_response({"code": code, "message": words}, status=STATUSES[code])
