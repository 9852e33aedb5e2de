"""An MCP server that answers a call with a message which never ends; what it repeats is its argument."""

from __future__ import annotations

import json
import os
import sys

TOOL = {"name": "flood", "description": "Flood.", "inputSchema": {"type": "object"}}

for line in sys.stdin:
    request = json.loads(line)
    answer = {"error": {"code": -32601, "message": "no such method"}}
    if request["method"] == "initialize":
        version = request["params"]["protocolVersion"]
        about = {"capabilities": {"tools": {}}, "serverInfo": {"name": "flood", "version": "1"}}
        answer = {"result": {"protocolVersion": version, **about}}
    elif request["method"] == "tools/list":
        answer = {"result": {"tools": [TOOL]}}
    elif request["method"] == "tools/call":
        print(f'{{"jsonrpc": "2.0", "id": {request["id"]}, "result": {{"content": [', end="", flush=True)
        while True:
            os.write(1, sys.argv[1].encode() * 10_000)
    if "id" in request:
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer}), flush=True)
