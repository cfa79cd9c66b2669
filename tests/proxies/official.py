"""The official clients, with the steps of tests/clients."""

import os
import subprocess

from world import HERE

# What to run, and how many steps it passes on a direct connection.
CLIENTS = {
    "TypeScript 1.x": (["node", "{home}/ts1.mjs", "everything", "http", "{url}"], 21),
    "Python 1.x": (["{home}/py1/bin/python", "{tests}/py1.py", "everything", "http", "{url}"], 21),
    "TypeScript 1.x over HTTP with SSE": (["node", "{home}/ts1.mjs", "everything", "sse", "{url}/sse"], 19),
    "TypeScript 2.x of 2026-07-28": (["node", "{home}/ts2_modern.mjs", "pin", "everything", "{url}"], 20),
    "Python 2.x of 2026-07-28": (["{home}/py2/bin/python", "{tests}/py2_modern.py", "pin", "modern", "{url}"], 20),
}
# Modern clients share a process of the server, and what they change there: the last one has other replicas, and another server.
LAST = "Python 2.x of 2026-07-28"


def run(name, home, url, authority):
    """What went wrong, if anything did."""
    words, steps = CLIENTS[name]
    words = [word.format(home=home, tests=HERE.parent / "clients", url=url) for word in words]
    more = {"NODE_EXTRA_CA_CERTS": str(authority), "SSL_CERT_FILE": str(authority), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(words, env={**os.environ, **more}, capture_output=True, text=True, timeout=110)
    lines = done.stdout.splitlines()
    good = sum(line.startswith("ok ") for line in lines)
    bad = [line for line in lines if not line.startswith("ok ")]
    if good == steps and not bad and done.returncode == 0:
        return None
    return f"{good} passed; {'; '.join(bad)} {done.stderr[-200:]}"
