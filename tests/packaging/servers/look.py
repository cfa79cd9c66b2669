#!/usr/bin/env python3
"""A stdio server on Python: tells what a server can do where it runs."""

import ctypes
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading


def attempt(what):
    try:
        found = what()
        return True if found is None else found
    except OSError as error:
        return error.strerror or str(error)


def write(path):
    with open(os.path.join(path, "written-by-python"), "w", encoding="utf-8") as file:
        file.write("x")


def closure():
    # libffi writes code as it runs.
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda value: value + 1)(41)


def look():
    with open("/proc/self/status", encoding="utf-8") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        cgroup = file.read().strip()
    seen = []
    thread = threading.Thread(target=lambda: seen.append(42))
    thread.start()
    thread.join()
    pair = socket.socketpair()
    for end in pair:
        end.close()
    return {
        "runtime": "python " + sys.version.split()[0],
        "compiled": closure() == 42 and seen == [42],
        "uid": os.getuid(),
        "home": os.path.expanduser("~"),
        "cpus": multiprocessing.cpu_count() > 0,
        "network": attempt(lambda: bool(socket.getaddrinfo("127.0.0.1", 80))),
        "shell": subprocess.run(["/bin/sh", "-c", "echo yes"], capture_output=True, check=True, text=True).stdout.strip(),
        "writesHome": attempt(lambda: write(os.path.expanduser("~"))),
        "writesTmp": attempt(lambda: bool(tempfile.mkdtemp())),
        "writesEtc": attempt(lambda: write("/etc")),
        "writesUsr": attempt(lambda: write("/usr/lib")),
        "seesHome": os.path.exists("/home/somebody"),
        "capabilities": status["CapEff"] + status["CapBnd"],
        "noNewPrivileges": status["NoNewPrivs"],
        "seccomp": status["Seccomp"],
        "cgroup": cgroup,
    }


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    answer = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] == "initialize":
        answer["result"] = {
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "look", "version": "1"},
        }
    elif message["method"] == "tools/list":
        answer["result"] = {"tools": [{"name": "look", "inputSchema": {"type": "object"}}]}
    elif message["method"] == "tools/call":
        answer["result"] = {"content": [{"type": "text", "text": json.dumps(look())}]}
    else:
        answer["error"] = {"code": -32601, "message": "method not found"}
    print(json.dumps(answer), flush=True)
