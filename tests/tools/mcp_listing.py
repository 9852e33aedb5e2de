"""An MCP server on standard input and output whose listing of tools is the JSON of its argument; calls are echoed."""

from __future__ import annotations

import json
import sys


def main() -> None:
    tools = json.loads(sys.argv[1])
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        reply: dict[str, object] = {"jsonrpc": "2.0", "id": message["id"]}
        match message["method"]:
            case "initialize":
                version = message["params"]["protocolVersion"]
                info = {"name": "listing", "version": "1"}
                reply["result"] = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
            case "tools/list":
                reply["result"] = {"tools": tools}
            case "tools/call":
                reply["result"] = {"content": [{"type": "text", "text": json.dumps(message["params"])}]}
            case _:
                reply["error"] = {"code": -32601, "message": "no such method"}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
