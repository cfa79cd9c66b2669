"""Clients call two servers over TLS, each in a session, while the configuration is read again 20 times: the certificate changes each
time, one server changes each time, the other never. Not one call may fail, and no session of the other server may end.

Usage: reload.py GATEWAY FOLDER   (the folder has one.crt, one.key, two.crt, two.key and ca.crt)
"""

import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time

RELOADS = 20
CLIENTS = 8

gateway, folder = sys.argv[1:]
os.chdir(folder)
trusted = ssl.create_default_context(cafile="ca.crt")


def write(name, text):
    with open(name + ".next", "w") as file:
        file.write(text)
    os.replace(name + ".next", name)


def configure(number):
    which = ("one", "two")[number % 2]
    for end in ("crt", "key"):
        shutil.copy(f"{which}.{end}", f"tls.{end}.next")
        os.replace(f"tls.{end}.next", f"tls.{end}")
    write(
        "gateway.toml",
        'listen = "127.0.0.1:0"\nadmin_listen = "127.0.0.1:0"\nready_file = "ready"\nchild_era = "legacy"\n'
        f'tls_cert = "{folder}/tls.crt"\ntls_key = "{folder}/tls.key"\n'
        f"[servers.same]\ndemo = true\n[servers.other]\ndemo = true\nmax_calls = {100 + number}\n",
    )


def connect(port):
    return http.client.HTTPSConnection("localhost", port, context=trusted, timeout=30)


class Client(threading.Thread):
    """Calls until it is told to stop, in a session that it opens again only where it was told that it has ended."""

    def __init__(self, port, server):
        super().__init__()
        self.port, self.server = port, server
        self.calls, self.opened, self.faults = 0, 0, []
        self.stops = threading.Event()
        self.session = None
        self.connection = connect(port)

    def post(self, message):
        fields = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        if self.session:
            fields |= {"mcp-session-id": self.session, "mcp-protocol-version": "2025-11-25"}
        self.connection.request("POST", f"/servers/{self.server}/mcp", json.dumps({"jsonrpc": "2.0"} | message), fields)
        response = self.connection.getresponse()
        return response.status, response.getheader("mcp-session-id"), response.read()

    def open(self):
        self.session = None
        about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "reload", "version": "0"}}
        status, self.session, body = self.post({"id": 0, "method": "initialize", "params": about})
        assert status == 200, (status, body)
        assert self.post({"method": "notifications/initialized"})[0] == 202
        self.opened += 1

    def run(self):
        try:
            self.open()
            while not self.stops.is_set():
                # Every tenth on a connection of its own: the handshake, too, is under load.
                if self.calls % 10 == 9:
                    self.connection.close()
                    self.connection = connect(self.port)
                text = f"{self.server} {self.calls}"
                call = {"name": "echo", "arguments": {"text": text}}
                status, _, body = self.post({"id": self.calls, "method": "tools/call", "params": call})
                if status == 404 and self.server == "other":
                    self.open()
                elif status != 200 or text.encode() not in body:
                    self.faults.append((status, body[:200]))
                self.calls += 1
        except Exception as error:  # noqa: BLE001 (whatever it is, it is a fault)
            self.faults.append(repr(error))


def metrics(address):
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


def count(text, name):
    lines = [line for line in text.splitlines() if line.startswith("mcp_gateway_" + name)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


configure(0)
if os.path.exists("ready"):
    os.remove("ready")
log = open("gateway.log", "w")
process = subprocess.Popen([gateway, "--config", "gateway.toml"], stderr=log)
try:
    for _ in range(200):
        if os.path.exists("ready") and open("ready").read().endswith("\n"):
            break
        time.sleep(0.05)
    port = int(open("ready").read().rsplit(":", 1)[1])
    for _ in range(200):
        told = [part for part in open("gateway.log").read().split() if part.startswith("admin=")]
        if told:
            break
        time.sleep(0.05)
    admin = told[0].split('"')[1]
    clients = [Client(port, server) for server in ("same", "other") for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    served = set()
    for number in range(1, RELOADS + 1):
        time.sleep(0.5)
        configure(number)
        process.send_signal(signal.SIGHUP)
        for _ in range(200):
            if count(metrics(admin), 'reloads_total{result="done"}') == number:
                break
            time.sleep(0.05)
        else:
            sys.exit(f"reload {number} did not come about: {open('gateway.log').read()[-2000:]}")
        raw = ssl.get_server_certificate(("localhost", port), ca_certs="ca.crt")
        served.add(raw)
        wanted = ssl.PEM_cert_to_DER_cert(open("tls.crt").read().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----")
        assert ssl.PEM_cert_to_DER_cert(raw) == wanted, "the next handshake has the new certificate"
    for client in clients:
        client.stops.set()
    for client in clients:
        client.join()
    faults = [fault for client in clients for fault in client.faults]
    calls = sum(client.calls for client in clients)
    anew = [client.opened for client in clients if client.server == "same"]
    print(f"     {calls} calls, {len(faults)} dropped; sessions of the server that did not change: {sum(anew)} opened by {len(anew)} clients")
    for fault in faults[:5]:
        print("     ", fault)
    good = not faults and anew == [1] * len(anew) and len(served) == 2 and calls > 1000
finally:
    process.terminate()
    code = process.wait(timeout=60)
sys.exit(0 if good and code == 0 else 1)
