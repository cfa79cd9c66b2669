"""Usage: jump.py GATEWAY LIBFAKETIME"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time

gateway, library = sys.argv[1:]
folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)
passed = failed = 0


def check(name, good, more=""):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print("ok  " if good else "FAIL", name, "" if good else more)


def jump(by):
    with open("clock.next", "w") as file:
        file.write(by + "\n")
    os.replace("clock.next", "clock")


jump("+0")
token = subprocess.run([gateway, "token", "new", "alice", "--file", "tokens"], capture_output=True, text=True, check=True).stdout.strip()
environment = dict(os.environ) | {
    "LD_PRELOAD": library,
    "FAKETIME_TIMESTAMP_FILE": os.path.join(folder.name, "clock"),
    "FAKETIME_NO_CACHE": "1",
    "DONT_FAKE_MONOTONIC": "1",
    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
}
log = open("log", "w")
words = ["--demo", "--listen", "127.0.0.1:0", "--ready-file", "ready", "--bearer-tokens", "tokens", "--child-era", "legacy"]
process = subprocess.Popen([gateway, *words, "--max-principal-rate", "1000", "--log-format", "json"], env=environment, stderr=log)
try:
    for _ in range(200):
        if os.path.exists("ready") and open("ready").read().endswith("\n"):
            break
        time.sleep(0.05)
    address = open("ready").read().strip()
    fields = {"content-type": "application/json", "accept": "application/json, text/event-stream", "authorization": f"Bearer {token}"}

    def post(message, more=fields):
        connection = http.client.HTTPConnection(address, timeout=20)
        connection.request("POST", "/mcp", json.dumps({"jsonrpc": "2.0"} | message), more)
        response = connection.getresponse()
        return response.status, response.getheader("mcp-session-id"), response.read()

    about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "clock", "version": "0"}}
    status, session, body = post({"id": 0, "method": "initialize", "params": about})
    check("a session opens", status == 200, body)
    own = fields | {"mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
    post({"method": "notifications/initialized"}, own)
    stream = http.client.HTTPConnection(address, timeout=20)
    stream.request("GET", "/mcp", headers=own | {"accept": "text/event-stream"})
    events = stream.getresponse()
    check("its stream opens", events.status == 200 and events.readline().startswith(b"id:"))
    for by in ("+1d", "-1d", "+1y", "-1y", "+0"):
        before = open("log").read()
        jump(by)
        time.sleep(1.5)
        call = {"id": by, "method": "tools/call", "params": {"name": "echo", "arguments": {"text": by}}}
        status, _, body = post(call, own)
        check(f"{by}: the session is served", status == 200 and by.encode() in body, (status, body))
        status, other, body = post({"id": 1, "method": "initialize", "params": about})
        check(f"{by}: another opens", status == 200, (status, body))
        connection = http.client.HTTPConnection(address, timeout=20)
        connection.request("DELETE", "/mcp", headers=own | {"mcp-session-id": other})
        check(f"{by}: and ends", connection.getresponse().status == 200)
        since = open("log").read()[len(before):]
        shown = {line.split('"timestamp":"')[1][:4] for line in since.splitlines() if '"timestamp":"' in line}
        years = {"+1y": 1, "-1y": -1}.get(by, 0)
        here = {str(time.gmtime().tm_year + years), str(time.gmtime(time.time() + {"+1d": 86400, "-1d": -86400}.get(by, 0)).tm_year + years)}
        # A line may have been written just before.
        check(f"{by}: the gateway saw the jump", shown & here, (shown, here))
    stream.sock.settimeout(0.5) if stream.sock else None
    check("its process lives", process.poll() is None)
    text = open("log").read()
    check("nothing panicked, nothing expired", "panic" not in text and "idle" not in text and '"reason":"shutdown"' not in text, text[-500:])
finally:
    process.terminate()
    check("it stops as asked", process.wait(timeout=60) == 0)
print(f"{passed} passed, {failed} failed")
sys.exit(bool(failed))
