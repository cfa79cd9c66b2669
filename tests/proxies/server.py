"""A stdio server of 2025-11-25 for tests behind proxies: what it does shows how an answer travels. It needs nothing but
Python. Its replica's name is in the environment variable REPLICA."""

import json
import os
import queue
import sys
import threading
import time

write_lock = threading.Lock()
cancelled, subscribed, waiting = set(), set(), {}
# What the calls of `count` that run, and those that were cancelled, call themselves.
running, gone_marks = {}, set()
numbers = iter(range(1, 1 << 30))


def write(message):
    with write_lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def notify(method, params):
    write({"method": method, "params": params})


def count(arguments, meta):
    """Takes `steps` times `ms`, and reports each."""
    token, steps = meta.get("progressToken"), arguments["steps"]
    running[meta["id"]] = arguments.get("mark")
    for step in range(1, steps + 1):
        time.sleep(arguments["ms"] / 1000)
        if meta["id"] in cancelled:
            return None
        if token is not None:
            notify("notifications/progress", {"progressToken": token, "progress": step, "total": steps})
    return f"counted to {steps}"


def big(arguments, meta):
    return "x" * arguments["bytes"]


def size(arguments, meta):
    return str(len(arguments["text"]))


def where(arguments, meta):
    return os.environ.get("REPLICA", "?")


def gone(arguments, meta):
    """What became of the call of this mark."""
    mark = arguments["mark"]
    return "cancelled" if mark in gone_marks else "running" if mark in running.values() else "unknown"


def touch(arguments, meta):
    for uri in list(subscribed):
        notify("notifications/resources/updated", {"uri": uri})
    return "touched"


def ask(arguments, meta):
    number, answer = next(numbers), queue.Queue()
    waiting[number] = answer
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    params = {"message": "What is your name?", "requestedSchema": schema}
    write({"id": number, "method": "elicitation/create", "params": params})
    return f"Hello, {answer.get(timeout=60)['result']['content']['name']}!"


TOOLS = {tool.__name__: tool for tool in (count, big, size, where, gone, touch, ask)}


def call(id, params):
    tool = TOOLS[params["name"]]
    meta = {"id": json.dumps(id), **params.get("_meta", {})}
    text = tool(params.get("arguments", {}), meta)
    if text is not None:
        write({"id": id, "result": {"content": [{"type": "text", "text": text}]}})


def answer(method, params):
    if method == "initialize":
        capabilities = {"tools": {}, "resources": {"subscribe": True}}
        return {
            "protocolVersion": params["protocolVersion"] if params["protocolVersion"] < "2026" else "2025-11-25",
            "capabilities": capabilities,
            "serverInfo": {"name": "proxy-test", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
    if method == "resources/list":
        return {"resources": [{"uri": "test://clock", "name": "clock"}]}
    if method == "resources/subscribe":
        subscribed.add(params["uri"])
    if method == "resources/unsubscribe":
        subscribed.discard(params["uri"])
    return {}


for line in sys.stdin:
    message = json.loads(line)
    method, id, params = message.get("method"), message.get("id"), message.get("params", {})
    if method is None:
        waiting.pop(id).put(message)
    elif method == "notifications/cancelled":
        cancelled.add(json.dumps(params["requestId"]))
        gone_marks.add(running.get(json.dumps(params["requestId"])))
    elif method == "tools/call":
        threading.Thread(target=call, args=(id, params), daemon=True).start()
    elif method == "server/discover":
        write({"id": id, "error": {"code": -32601, "message": "Method not found"}})
    elif id is not None:
        write({"id": id, "result": answer(method, params)})
