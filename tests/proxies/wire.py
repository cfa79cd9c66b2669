"""A client that sees what is on the wire: one TLS connection, its responses, and when each event came. It checks the
certificate against the test's own authority."""

import http.client
import json
import socket
import ssl
import time

HOST = "mcp.example.com"
MODERN = "2026-07-28"
BOTH = "application/json, text/event-stream"


class Place:
    """Where to ask: behind a proxy (with an authority), or a replica itself (without)."""

    def __init__(self, port, authority=None):
        self.port, self.authority = port, authority

    def connect(self, source="127.0.0.1", timeout=30):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout, (source, 0))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = http.client.HTTPConnection(HOST)
        connection.sock = plain
        if self.authority:
            context = ssl.create_default_context(cafile=self.authority)
            context.set_alpn_protocols(["http/1.1"])
            connection.sock = context.wrap_socket(plain, server_hostname=HOST)
        return connection


class Event:
    def __init__(self, text, at):
        self.at, self.id, self.name, data = at, None, "message", []
        for line in text.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                self.id = value
            elif name == "event":
                self.name = value
            elif name == "data" and value:
                data.append(value)
        self.data = "\n".join(data)

    def message(self):
        return json.loads(self.data) if self.data.startswith("{") else {}


class Reply:
    """A response whose body is read as it comes."""

    def __init__(self, connection, began):
        self.connection, self.began = connection, began
        self.response = connection.getresponse()
        self.headed = time.monotonic() - began
        self.status, self.fields = self.response.status, self.response.headers

    def is_stream(self):
        return self.fields.get("content-type", "").startswith("text/event-stream")

    def events(self):
        text = b""
        while chunk := self.response.read1(1 << 16):
            text += chunk
            while b"\n\n" in text:
                block, _, text = text.partition(b"\n\n")
                event = Event(block.decode(), time.monotonic() - self.began)
                if event.data or event.id:
                    yield event

    def whole(self):
        return self.response.read()

    def answer(self):
        """The answer, from a body of either kind; the events before it are in `before`."""
        self.before = []
        if not self.is_stream():
            return json.loads(self.whole())
        for event in self.events():
            message = event.message()
            if "id" in message and "method" not in message:
                return message
            self.before.append(event)
        raise AssertionError("the stream ended without an answer")

    def text(self):
        answer = self.answer()
        assert self.status == 200 and "result" in answer, f"{self.status} {str(answer)[:200]}"
        return answer["result"]["content"][0]["text"]

    def cut(self):
        cut(self.connection)


def cut(connection):
    """Leaves without a word, whoever still reads."""
    plain = connection.sock
    plain.shutdown(socket.SHUT_RDWR)
    plain.close()


class Client:
    """Asks as a client would. A connection a request, unless one is kept."""

    def __init__(self, place, source="127.0.0.1", token=None):
        self.place, self.source, self.fields = place, source, {}
        if token:
            self.fields["authorization"] = f"Bearer {token}"
        self.session, self.number, self.kept = None, 0, None

    def keep(self):
        self.kept = self.place.connect(self.source)

    def send(self, verb, fields, body=None, path="/mcp", timeout=30):
        connection = self.kept or self.place.connect(self.source, timeout)
        fields = {"host": HOST, **self.fields, **fields}
        began = time.monotonic()
        connection.request(verb, path, body, fields)
        return Reply(connection, began)

    def post(self, message, more=None, path="/mcp", **options):
        fields = {"accept": BOTH, "content-type": "application/json", **(more or {})}
        if self.session:
            fields["mcp-session-id"] = self.session
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        return self.send("POST", fields, body, path, **options)

    def get(self, more=None, path="/mcp", **options):
        fields = {"accept": "text/event-stream", **(more or {})}
        if self.session:
            fields["mcp-session-id"] = self.session
        return self.send("GET", fields, None, path, **options)

    # ---- with a session

    def hello(self):
        """What an initialize says."""
        self.number += 1
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "wire", "version": "1"}}
        return {"id": self.number, "method": "initialize", "params": params}

    def open(self):
        reply = self.post(self.hello())
        assert reply.status == 200, f"initialize: {reply.status} {reply.whole()[:200]}"
        assert "result" in reply.answer()
        self.session = reply.fields["mcp-session-id"]
        told = self.post({"method": "notifications/initialized"})
        assert told.status == 202, f"initialized: {told.status}"
        told.whole()
        return self

    def call(self, tool, arguments=None, token=None, **options):
        return self.request("tools/call", {"name": tool, "arguments": arguments or {}}, token, **options)

    def request(self, method, params, token=None, **options):
        self.number += 1
        if token:
            params["_meta"] = {"progressToken": token}
        return self.post({"id": self.number, "method": method, "params": params}, **options)

    # ---- of 2026-07-28

    def ask(self, method, params, capabilities=None, token=None, **options):
        self.number += 1
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": capabilities or {},
            "io.modelcontextprotocol/clientInfo": {"name": "wire", "version": "1"},
        }
        if token:
            meta["progressToken"] = token
        fields = {"mcp-protocol-version": MODERN, "mcp-method": method}
        if "name" in params:
            fields["mcp-name"] = params["name"]
        message = {"id": self.number, "method": method, "params": {**params, "_meta": meta}}
        return self.post(message, fields, **options)

    def tool(self, name, arguments=None, capabilities=None, token=None, more=None, **options):
        params = {"name": name, "arguments": arguments or {}, **(more or {})}
        return self.ask("tools/call", params, capabilities, token, **options)
