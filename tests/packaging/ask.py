#!/usr/bin/env python3
"""Opens a session at URL, calls TOOL there, and prints the text of its result. ask.py URL TOOL [TOKEN]"""

import json
import sys
import urllib.error
import urllib.request

url, tool, *token = sys.argv[1:]
fields = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
if token:
    fields["authorization"] = "Bearer " + token[0]


def post(body, **more):
    request = urllib.request.Request(url, json.dumps(body).encode(), {**fields, **more})
    with urllib.request.urlopen(request, timeout=60) as response:
        text = response.read().decode()
        data = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
        return response.headers, json.loads(data[-1] if data else text or "null")


try:
    about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "ask", "version": "1"}}
    headers, opened = post({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about})
    session = {"mcp-session-id": headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
    post({"jsonrpc": "2.0", "method": "notifications/initialized"}, **session)
    arguments = {"text": "hello"} if tool == "echo" else {}
    _, called = post({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}, **session)
    print(called["result"]["content"][0]["text"])
    urllib.request.urlopen(urllib.request.Request(url, headers=session | fields, method="DELETE"), timeout=60).close()
except urllib.error.HTTPError as error:
    sys.exit(f"HTTP {error.code}: {error.read().decode()[:500]}")
