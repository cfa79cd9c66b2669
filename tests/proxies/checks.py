"""Checks one reverse proxy in front of two replicas of the gateway, a line a check.
Usage: python3 checks.py nginx|haproxy|apache|caddy GATEWAY FOLDER_OF_CLIENTS FOLDER"""

import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import official
from wire import HOST, Client, Place, cut
from world import PYTHON, REPLICAS, Proxy, Replicas, certificate, until

# How long a proxy may take to notice that a client has left while nothing is written to it: less than the 15 s after which
# the gateway writes a comment. Apache finds out when it writes, at the second one.
LEAVES_S = {"apache": 40}
# Small enough to be reached.
BOUNDS = ["--max-sessions", "16", "--max-calls", "6", "--child-era", "legacy"]


class Checks:
    def __init__(self, name, gateway, home, folder):
        self.name, self.home, self.folder, self.gateway = name, home, folder, gateway
        self.passed = self.failed = 0
        certificate(folder / "tls")
        self.replicas = Replicas(gateway, folder)
        self.proxy = Proxy(name, folder, self.replicas.ports)
        self.through = Place(self.proxy.port, folder / "tls" / "ca.pem")
        self.direct = {name: Place(port) for name, port in self.replicas.ports.items()}

    def say(self, what, failure=None):
        if failure is None:
            self.passed += 1
            print(f"ok   {self.name}: {what}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL {self.name}: {what}: {' '.join(str(failure).split())[:400]}", flush=True)

    def check(self, body, *arguments):
        """The check's text is its documentation; what it gives back is added to it."""
        what = body.__doc__.strip()
        try:
            figure = body(*arguments)
        except Exception as error:
            return self.say(what, f"{type(error).__name__}: {error}")
        self.say(what if figure is None else f"{what} ({figure})")

    def client(self, **options):
        return Client(self.through, **options)

    def official(self, names):
        """Official clients, side by side."""
        url, authority = f"https://127.0.0.1:{self.proxy.port}/mcp", self.folder / "tls" / "ca.pem"
        with ThreadPoolExecutor() as pool:
            for name, done in [(name, pool.submit(official.run, name, self.home, url, authority)) for name in names]:
                what = f"the official client {name} passes its {official.CLIENTS[name][1]} steps"
                try:
                    self.say(what, done.result())
                except Exception as error:
                    self.say(what, error)

    # ---- with sessions

    def progress(self, reply):
        times = [event.at for event in reply.before if event.message().get("method") == "notifications/progress"]
        assert len(times) == 5, f"{len(times)} progress events"
        spread = time.monotonic() - reply.began - times[0]
        gaps = [later - earlier for earlier, later in zip(times, times[1:])]
        assert spread > 0.8 and sorted(gaps)[1] > 0.1, f"a lump: at {[round(at, 2) for at in times]}"
        return f"{spread:.2f} s from the first to the answer, made in 1.00"

    def each_event_at_once(self):
        """a session's progress comes as it is made, not in a lump"""
        reply = self.client().open().call("count", {"steps": 5, "ms": 250}, token="p")
        assert reply.answer()["result"]["content"][0]["text"] == "counted to 5"
        return self.progress(reply)

    def curl(self, session, *more):
        """The words of a curl that posts in this session."""
        address = f"{HOST}:{self.proxy.port}"
        words = ["curl", "-sN", "--cacert", str(self.through.authority), "--resolve", f"{address}:127.0.0.1"]
        words += ["-H", "content-type: application/json", "-H", "accept: application/json, text/event-stream"]
        return [*words, "-H", f"mcp-session-id: {session}", *more, f"https://{address}/mcp"]

    def each_event_at_once_on_http_2(self):
        """the same for a client that is offered HTTP/2"""
        session = self.client().open().session
        params = {"name": "count", "arguments": {"steps": 5, "ms": 250}, "_meta": {"progressToken": "p"}}
        body = json.dumps({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": params})
        words = self.curl(session, "--http2", "-w", "HTTP %{http_version}\n", "-d", body)
        times, version = [], "?"
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as curl:
            for line in curl.stdout:
                version = line.strip() if line.startswith("HTTP ") else version
                if "notifications/progress" in line:
                    times.append(time.monotonic())
        gaps = [later - earlier for earlier, later in zip(times, times[1:])]
        assert len(times) == 5 and sorted(gaps)[1] > 0.1, f"{len(times)} progress events, {[round(gap, 2) for gap in gaps]} s apart"
        return version

    def standing_stream(self):
        """what is about no call comes on the session's GET stream"""
        client = self.client().open()
        stream = client.get()
        assert stream.status == 200 and stream.is_stream(), stream.status
        assert stream.headed < 2, f"its head took {stream.headed:.1f} s"
        assert "result" in client.request("resources/subscribe", {"uri": "test://clock"}).answer()
        assert client.call("touch").text() == "touched"
        method = next(event.message()["method"] for event in stream.events() if event.data)
        assert method == "notifications/resources/updated", method

    def resume(self):
        """a stream that broke off goes on after Last-Event-ID, with nothing lost or twice"""
        client = self.client().open()
        reply = client.call("count", {"steps": 8, "ms": 150}, token="p")
        seen = []
        for event in reply.events():
            last = event.id
            if event.data:
                seen.append(event.message()["params"]["progress"])
            if len(seen) == 2:
                break
        reply.cut()
        time.sleep(0.4)
        rest = client.get({"last-event-id": last})
        assert rest.status == 200, f"{rest.status} {rest.whole()[:200]}"
        assert "result" in rest.answer()
        seen += [event.message()["params"]["progress"] for event in rest.before if event.data]
        assert seen == list(range(1, 9)), seen

    def the_end(self):
        """DELETE ends a session; then it is 404"""
        client = self.client().open()
        deleted = client.send("DELETE", {"mcp-session-id": client.session}).status
        assert deleted in (200, 204), deleted
        assert client.call("where").status == 404

    def twenty_sessions(self):
        """20 sessions are spread over both replicas, and each request reaches the one that has its session"""
        clients = [self.client().open() for _ in range(20)]
        spread = Counter(client.session.partition("-")[0] for client in clients)
        assert set(spread) == set(REPLICAS) and min(spread.values()) >= 5, dict(spread)
        with ThreadPoolExecutor(4) as pool:
            asked = [(client, pool.submit(lambda client=client: client.call("where").text())) for client in clients * 5]
            for client, answer in asked:
                assert client.session.startswith(f"{answer.result()}-"), f"{client.session} was answered by {answer.result()}"
        for client in clients:
            client.send("DELETE", {"mcp-session-id": client.session}).whole()
        return f"{spread['a']} and {spread['b']}, {len(asked)} calls"

    def http_with_sse(self):
        """messages of HTTP with SSE reach the replica that has the stream"""
        used = Counter()
        for _ in range(4):
            client = self.client()
            events = client.get(path="/mcp/sse").events()
            path = next(events).data
            assert client.post(client.hello(), path=path).status == 202
            assert "result" in next(events).message()
            assert client.call("where", path=path).status == 202
            used[next(events).message()["result"]["content"][0]["text"]] += 1
        return ", ".join(f"{count} at {name}" for name, count in sorted(used.items()))

    # ---- clients of 2026-07-28

    def modern_progress(self):
        """a modern call's progress comes as it is made"""
        reply = self.client().tool("count", {"steps": 5, "ms": 250}, token="p")
        assert reply.answer()["result"]["content"][0]["text"] == "counted to 5"
        return self.progress(reply)

    def question(self):
        """a modern call is asked back, and its retry finds it"""
        client, can = self.client(), {"elicitation": {}}
        result = client.tool("ask", capabilities=can).answer()["result"]
        assert result["resultType"] == "input_required", result
        said = {key: {"action": "accept", "content": {"name": "Ada"}} for key in result["inputRequests"]}
        retry = {"inputResponses": said, "requestState": result["requestState"]}
        assert client.tool("ask", capabilities=can, more=retry).text() == "Hello, Ada!"

    def subscription(self):
        """subscriptions/listen is acknowledged, and hears of a change"""
        client = self.client()
        stream = client.ask("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["test://clock"]}})
        events = (event.message()["method"] for event in stream.events() if event.data)
        assert next(events) == "notifications/subscriptions/acknowledged"
        assert client.tool("touch").text() == "touched"
        assert next(events) == "notifications/resources/updated"

    def addresses(self):
        """modern clients are spread over both replicas, each address stays with one"""
        at = {}
        for number in range(1, 17):
            client = self.client(source=f"127.0.{number}.{number * 7}")
            at[number] = {client.tool("where").text() for _ in range(3)}
        assert all(len(names) == 1 for names in at.values()), at
        spread = Counter(name for names in at.values() for name in names)
        assert set(spread) == set(REPLICAS), dict(spread)
        return f"{spread['a']} and {spread['b']} of 16"

    def leave(self, mark, arguments, token):
        mark = f"{mark} {time.monotonic()}"
        client, arguments = self.client(), {**arguments, "mark": mark}

        def is_told(state):
            # It may be 503 while somebody's large body waits for the server.
            return state in str(self.client().tool("gone", {"mark": mark}).answer().get("result"))

        if token:
            reply = client.tool("count", arguments, token=token)
            next(event for event in reply.events() if event.data)
            reply.cut()
        else:
            # Nothing has been said yet, not even a status.
            client.kept = self.through.connect()
            with ThreadPoolExecutor() as pool:
                asking = pool.submit(client.tool, "count", arguments)
                until("the server has the call", lambda: is_told("running"))
                cut(client.kept)
                asking.exception()
        began = time.monotonic()
        until("the server hears of it", lambda: is_told("cancelled"), LEAVES_S.get(self.name, 12))
        return f"after {time.monotonic() - began:.1f} s"

    def leave_a_stream(self):
        """a modern client that leaves a stream cancels its call"""
        return self.leave("stream", {"steps": 200, "ms": 100}, "p")

    def leave_in_silence(self):
        """a modern client that leaves a silent call cancels it"""
        return self.leave("silence", {"steps": 1, "ms": 60000}, None)

    # ---- sizes, fields, connections

    def large_body(self):
        """a body of 6 MiB passes"""
        assert self.client().open().call("size", {"text": "x" * (6 << 20)}).text() == str(6 << 20)
        assert self.client().tool("size", {"text": "x" * (6 << 20)}).text() == str(6 << 20)

    def large_answer(self):
        """an answer of 4 MiB passes"""
        assert len(self.client().open().call("big", {"bytes": 4 << 20}).text()) == 4 << 20
        assert len(self.client().tool("big", {"bytes": 4 << 20}).text()) == 4 << 20

    def too_large(self):
        """a body of 9 MiB is refused with 413"""
        words = self.curl(self.client().open().session, "--http1.1", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary", "@-")
        status = subprocess.run(words, input=b"x" * (9 << 20), capture_output=True).stdout.decode()
        assert status == "413", status

    def keep_alive(self):
        """30 calls in a row use few connections to the gateway"""

        def connections():
            lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
            ends = {f"{port:04X}" for port in self.replicas.ports.values()}
            return {line.split()[1] for line in lines if line.split()[2].rpartition(":")[2] in ends}

        client = self.client()
        client.open().keep()
        before = connections()
        for _ in range(30):
            assert client.call("where").text() in REPLICAS
        count = len(connections() - before)
        assert count <= 6, f"{count} connections"
        return f"{count} new"

    def after_silence(self):
        """a call after 11 s of silence is served, although the gateway has closed its idle connections"""
        client = self.client()
        client.open().keep()
        assert client.call("where").text() in REPLICAS
        time.sleep(11)
        assert client.call("where").text() in REPLICAS

    def names(self):
        """a Host that was not allowed is refused"""
        client = self.client()
        client.fields["host"] = "other.example.com"
        reply = client.post(client.hello())
        text = reply.whole().decode()
        if self.name == "caddy":
            assert not text, text
            return "by Caddy itself, with an empty answer"
        assert reply.status == 421 and "--allowed-host other.example.com" in text, f"{reply.status} {text[:200]}"

    def same(self, direct, proxied, fields, status):
        """Two replies differ in nothing that matters."""
        for reply in (direct, proxied):
            assert reply.status == status, f"{reply.status}, not {status}: {reply.whole()[:200]}"
        for name in ("content-type", *fields):
            told = [reply.fields.get_all(name) for reply in (direct, proxied)]
            assert told[0] == told[1] and told[0], f"{name}: {told[0]} became {told[1]}"
        assert direct.whole() == proxied.whole()

    def too_many_calls(self):
        """429 passes unchanged, with Retry-After"""
        client = self.client().open()
        running = [client.call("count", {"steps": 40, "ms": 100}, token=str(number)) for number in range(6)]
        near = Client(self.direct[client.session.partition("-")[0]])
        near.session, near.number = client.session, client.number
        self.same(near.call("where"), client.call("where"), ["retry-after"], 429)
        for reply in running:
            reply.answer()

    def too_many_sessions(self):
        """503 passes unchanged, with Retry-After"""
        clients = []
        for _ in range(40):
            client = self.client()
            reply = client.post(client.hello())
            if reply.status == 503:
                break
            client.session = reply.fields["mcp-session-id"]
            clients.append(client)
        # Any replica that is full says the same.
        full = []
        for place in self.direct.values():
            near = Client(place)
            if (refused := near.post(near.hello())).status == 503:
                full.append(refused)
            else:
                near.session = refused.fields["mcp-session-id"]
                clients.append(near)
        try:
            self.same(full[0], reply, ["retry-after"], 503)
        finally:
            for client in clients:
                client.send("DELETE", {"mcp-session-id": client.session}).whole()

    def failover(self):
        """a session whose replica is gone is 404, and its client opens another"""
        client = self.client()
        while True:
            client.session = None
            if client.open().session.startswith("a-"):
                break
        self.replicas.stop("a")
        for _ in range(2):
            reply = client.call("where")
            assert reply.status == 404, f"{reply.status} {reply.whole()[:200]}"
            reply.whole()
        client.session = None
        assert client.open().session.startswith("b-")
        assert client.call("where").text() == "b"
        assert client.tool("where").text() == "b"

    def unauthorized(self):
        """401 passes unchanged, with WWW-Authenticate"""
        for token in (None, "mcpgw_" + "A" * 43):
            replies = [client.post(client.hello()) for client in (Client(self.direct["a"], token=token), self.client(token=token))]
            self.same(*replies, ["www-authenticate"], 401)

    def authorized(self, token):
        """a token passes, as Authorization and as X-API-Key"""
        assert self.client(token=token).open().call("where").text() in REPLICAS
        client = self.client()
        client.fields["x-api-key"] = token
        assert client.open().call("where").text() in REPLICAS

    # ---- all of it

    def restart(self, options, server):
        self.replicas.stop()
        self.replicas.start(options, server)
        # Until then a proxy may leave alone a replica that it could not reach.
        time.sleep(2.5)

    def run(self):
        everything = self.home / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
        self.replicas.start([], ["node", str(everything), "stdio"])
        self.proxy.start()
        self.official([name for name in official.CLIENTS if name != official.LAST])
        self.restart([], ["node", str(self.home / "modern_server.mjs")])
        self.official([official.LAST])

        self.restart(BOUNDS, PYTHON)
        with ThreadPoolExecutor() as pool:
            # These wait more than they work.
            slow = [pool.submit(self.check, body) for body in (self.after_silence, self.leave_in_silence)]
            for body in (
                self.each_event_at_once, self.each_event_at_once_on_http_2, self.standing_stream, self.resume, self.the_end,
                self.http_with_sse, self.modern_progress, self.question, self.subscription, self.addresses,
                self.leave_a_stream, self.large_body, self.large_answer, self.too_large, self.keep_alive, self.names,
                self.too_many_calls,
            ):  # fmt: skip
                self.check(body)
            for check in slow:
                check.result()

        self.restart(BOUNDS, PYTHON)
        for body in (self.twenty_sessions, self.too_many_sessions, self.failover):
            self.check(body)

        tokens = self.folder / "tokens"
        made = subprocess.run([self.gateway, "token", "new", "alice", "--file", str(tokens)], capture_output=True, text=True)
        if made.returncode != 0:
            return self.say("401 passes unchanged", f"there is no `token new`: {made.stderr[:200]}")
        self.restart(["--bearer-tokens", str(tokens), *BOUNDS], PYTHON)
        self.check(self.unauthorized)
        self.check(self.authorized, made.stdout.strip())


def main():
    name, gateway, home, folder = sys.argv[1:]
    checks = Checks(name, gateway, Path(home), Path(folder))
    try:
        checks.run()
    except Exception as error:
        checks.say("all checks run", f"{type(error).__name__}: {error}")
    finally:
        checks.replicas.stop()
        checks.proxy.stop()
        if checks.failed:
            for text in (checks.proxy.log(), *(checks.replicas.log(name) for name in REPLICAS)):
                print("".join(f"     {line}\n" for line in text.splitlines()[-8:]), end="", flush=True)
        print(f"{checks.passed} {checks.failed}", file=open(Path(folder) / "tally", "w"))


main()
