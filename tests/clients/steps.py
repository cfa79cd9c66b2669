"""The steps of py1.py and py2.py; Lib hides where the two APIs differ. A transport is
'http', 'sse' or 'stdio'; or 'shared' or 'stateless': that is 'http' in front of a server
process that other clients use too, which therefore can ask nobody anything, with
sessions or without."""

import asyncio
import base64
import logging
import os
import re
import sys
import time
import warnings
from contextlib import AsyncExitStack, asynccontextmanager

from targets import MODERN, TARGETS

STEP_S = 30
PROGRAM_S = 110
NASTY = 'é 漢字 😀 "quoted" \\ tab\t line\nnext\r\n \u2028 \u0085 \u0001 data: x\n\nid: 9\n\n'


class Lib:
    """The base of both adapters; its members are in py1.py."""


class Tap:
    """A receive stream that shows what passes."""

    def __init__(self, stream, show):
        self._stream, self._show = stream, show

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def __aiter__(self):
        return self

    async def __anext__(self):
        item = await self._stream.__anext__()
        self._show(item)
        return item

    async def __aenter__(self):
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *exc):
        return await self._stream.__aexit__(*exc)


class Cut:
    """A response body that breaks off after its first progress event."""

    def __init__(self, stream, lost):
        self._stream, self._lost = stream, lost

    async def __aiter__(self):
        seen = b""
        async for chunk in self._stream:
            seen += chunk
            yield chunk
            if re.search(rb"notifications/progress[^\n]*\n([^\n]+\n)*\r?\n", seen):
                await self._stream.aclose()
                raise self._lost

    async def aclose(self):
        await self._stream.aclose()


class Session:
    """A connected client and what it has seen."""

    def __init__(self):
        self.wire, self.asked, self.logs, self.updates, self.answers = [], [], [], [], []
        self.progress, self.changed = [], []
        self.roots = ["file:///srv/project"]
        self.id = self.version = None


def dump(model):
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


def text(result):
    return "\n".join(c.get("text", "") for c in dump(result)["content"])


def same(what, actual, expected):
    assert actual == expected, f"{what}: {actual}, expected {expected}"


def has(text, part):
    assert part in text, f"{part!r} is not in {text[:200]!r}"


async def until(what, condition):
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.025)
    raise AssertionError(f"{what} did not arrive in 10 s")


class Run:
    def __init__(self, lib, argv):
        self.lib = lib
        self.target = TARGETS[argv[0]]
        self.kind = argv[1]
        self.shared = self.kind == "shared"
        self.stateless = self.kind == "stateless"
        self.asks = not self.shared and not self.stateless
        self.resumable = self.shared or self.kind == "http"
        self.url = None if self.kind == "stdio" else argv[2]
        self.command = argv[2:]
        self.failed = 0
        self.resumed = 0
        self.cut_next = False
        self.s = None

    # ---- a connected client

    def http_client(self, s, headers):
        run, http = self, self.lib.http

        class CutStream(Cut, http.AsyncByteStream):
            pass

        class Transport(http.AsyncHTTPTransport):
            async def handle_async_request(self, request):
                run.resumed += "last-event-id" in request.headers
                response = await super().handle_async_request(request)
                if run.cut_next and request.method == "POST" and run.target.long.encode() in await request.aread():
                    run.cut_next = False
                    response.stream = CutStream(response.stream, http.ReadError("connection lost"))
                return response

        async def saw(response):
            s.answers.append((response.request.method, response.status_code))
            s.id = response.headers.get("mcp-session-id", s.id)
            s.version = response.request.headers.get("mcp-protocol-version", s.version)

        timeout = http.Timeout(30, read=60)
        return http.AsyncClient(
            transport=Transport(), headers=headers, timeout=timeout, event_hooks={"response": [saw]}
        )

    @asynccontextmanager
    async def transport(self, s, headers):
        async with AsyncExitStack() as stack:
            if self.kind == "sse":
                streams = await stack.enter_async_context(self.lib.sse(self.url))
            elif self.url:
                s.http = await stack.enter_async_context(self.http_client(s, headers))
                streams = await stack.enter_async_context(self.lib.streamable(self.url, s.http))
            else:
                errlog = stack.enter_context(open(os.devnull, "w"))
                streams = await stack.enter_async_context(self.lib.stdio(self.command[0], self.command[1:], errlog))

            def show(item):
                if not isinstance(item, Exception):
                    s.wire.append(dump(self.lib.raw(item)))
                    if s.wire[-1].get("method") == "notifications/progress":
                        s.progress.append(s.wire[-1]["params"]["progress"])

            yield Tap(streams[0], show), streams[1]

    @asynccontextmanager
    async def open(self, resume=None):
        s = Session()
        types = self.lib.types

        async def sampling(context, params):
            s.asked.append({"method": "sampling/createMessage", "params": dump(params)})
            prompt = dump(params)["messages"][0]["content"]["text"]
            content = {"type": "text", "text": f"sampled for {prompt}."}
            return types.CreateMessageResult.model_validate(
                {"role": "assistant", "model": "test-model", "content": content}
            )

        async def elicitation(context, params):
            s.asked.append({"method": "elicitation/create", "params": dump(params)})
            given = {"name": "Ada Lovelace", "integer": 7, "sure": True}
            wanted = dump(params)["requestedSchema"]["properties"]
            content = {key: given[key] for key in wanted if key in given}
            return types.ElicitResult.model_validate({"action": "accept", "content": content})

        async def roots(context):
            s.asked.append({"method": "roots/list"})
            return types.ListRootsResult.model_validate({"roots": [{"uri": uri, "name": "root"} for uri in s.roots]})

        async def log(params):
            s.logs.append(str(params.data))

        async def message(item):
            if not isinstance(item, Exception) and hasattr(item, "model_dump"):
                n = dump(item)
                if n.get("method") == "notifications/resources/updated":
                    s.updates.append(n["params"]["uri"])
                if n.get("method", "").endswith("/list_changed"):
                    s.changed.append(n["method"].split("/")[1])

        callbacks = dict(
            sampling_callback=sampling,
            elicitation_callback=elicitation,
            list_roots_callback=roots,
            logging_callback=log,
            message_handler=message,
        )
        headers = {"mcp-session-id": resume.id, "mcp-protocol-version": resume.version} if resume else None
        join = self.lib.attach if resume else self.lib.connect
        async with join(self.transport(s, headers), callbacks) as s.client:
            yield s

    def call(self, name, args=None, s=None, **options):
        return (s or self.s).client.call_tool(name, args or {}, **options)

    async def echo(self, message, s=None):
        answer = text(await self.call("echo", {"message": message}, s))
        assert answer == f"Echo: {message}", f"got {answer[:80]!r}"

    async def call_resumable(self, s, seconds, **metadata):
        """A long-running call through the part of the API that has resumption tokens."""
        types = self.lib.types
        arguments = {"duration": seconds, "steps": 5}
        params = {"name": self.target.long, "arguments": arguments, "_meta": {"progressToken": "resumable"}}
        request = types.CallToolRequest.model_validate({"method": "tools/call", "params": params})
        session = s.client if metadata.get("resumption_token") else self.lib.session(s.client)
        return await session.send_request(
            self.lib.request(request), types.CallToolResult, metadata=self.lib.Metadata(**metadata)
        )

    async def refused(self, name, args=None):
        """A tool that would have to ask does not exist where nobody can be asked."""
        start = time.monotonic()
        try:
            result = await self.call(name, args)
            assert dump(result)["isError"] is True, f"it answers: {text(result)}"
            told = text(result)
        except self.lib.Error as error:
            told = str(error)
        has(told, f"{name} not found")
        assert time.monotonic() - start < 5, "it is refused, but late"
        same("questions", self.s.asked, [])

    def questions(self, method):
        return sum(request["method"] == method for request in self.s.asked)

    # ---- the steps

    async def connect(self):
        initialized = next(m["result"] for m in self.s.wire if "serverInfo" in m.get("result", {}))
        same("server", initialized["serverInfo"]["name"], self.target.server)
        same("subscriptions", "subscribe" in initialized["capabilities"]["resources"], not self.stateless)
        same("session", self.s.id is not None, self.resumable)
        assert initialized["instructions"]
        await self.s.client.send_ping()

    async def list_tools(self):
        target = self.target
        tools = {t["name"]: t for t in dump(await self.s.client.list_tools())["tools"]}
        for name in ("echo", target.add, target.long):
            assert name in tools, f"{name} is not listed"
        for name in (target.sampling, target.elicitation, target.roots):
            same(f"{name} is listed", name in tools, self.asks)
        assert tools[target.add]["inputSchema"]["properties"]["a"]["type"] == "number"

    async def list_resources(self):
        same("resources", len((await self.s.client.list_resources()).resources), self.target.resources)

    async def list_templates(self):
        templates = dump(await self.s.client.list_resource_templates())["resourceTemplates"]
        same("templates", sorted(t["uriTemplate"] for t in templates), self.target.templates)

    async def read_resource(self):
        async def read(uri):
            return dump(await self.s.client.read_resource(self.lib.uri(uri)))["contents"][0]

        for uri, expected in self.target.texts.items():
            assert re.match(expected, (await read(uri))["text"]), uri
        uri, expected = self.target.blob
        assert base64.b64decode((await read(uri))["blob"]).startswith(expected), uri

    async def list_prompts(self):
        names = sorted(p.name for p in (await self.s.client.list_prompts()).prompts)
        same("prompts", names, self.target.prompts)

    async def get_prompt(self):
        prompt = await self.s.client.get_prompt("args-prompt", {"city": "Köln", "state": "NRW"})
        has(dump(prompt)["messages"][0]["content"]["text"], "Köln, NRW")

    async def complete(self):
        ref = self.lib.types.PromptReference(type="ref/prompt", name="completable-prompt")

        async def complete(name, value, context=None):
            result = await self.s.client.complete(ref, {"name": name, "value": value}, context)
            return result.completion.values

        same("departments", await complete("department", "S"), ["Sales", "Support"])
        same("names", await complete("name", "B", {"department": "Engineering"}), ["Bob"])

    async def echo_step(self):
        await self.echo("hello")
        await self.echo(NASTY)
        await self.echo("x" * 500_000)

    async def tool_error(self):
        assert dump(await self.call(self.target.add, {"a": "one", "b": 2}))["isError"] is True
        try:
            await self.s.client.read_resource(self.lib.uri("demo://no/such/thing"))
        except Exception as error:
            same("error code", error.error.code, -32602)
        else:
            raise AssertionError("no error for an unknown resource")

    async def progress(self):
        got, start = [], len(self.s.wire)

        async def on_progress(progress, total, message):
            got.append(progress)

        result = await self.call(self.target.long, {"duration": 1, "steps": 5}, progress_callback=on_progress)
        same("progress before the result", got, [1, 2, 3, 4, 5])
        has(text(result), "completed")
        # Python 2 may list the tools after its call, hence the six.
        wire = [m.get("params", {}).get("progress", "result" if "result" in m else None) for m in self.s.wire[start:]]
        same("events on the wire", [event for event in wire if event][:6], [1, 2, 3, 4, 5, "result"])

    async def concurrent(self):
        async def add(i):
            has(text(await self.call(self.target.add, {"a": i, "b": 1000})), f" {i + 1000}.")

        slow = asyncio.create_task(self.call(self.target.long, {"duration": 0.5, "steps": 1}))
        await asyncio.gather(*(add(i) for i in range(40)), *(self.echo(f"message {i}") for i in range(40)))
        has(text(await slow), "completed")

    async def sampling(self):
        if not self.asks:
            return await self.refused(self.target.sampling, {"prompt": "say hi"})

        async def sampled(prompt):
            answer = text(await self.call(self.target.sampling, {"prompt": prompt}))
            assert re.search(f"sampled for .*{prompt}\\.", answer), f"{prompt}: {answer}"

        await sampled("say hi")
        await asyncio.gather(*(sampled(f"say {i}") for i in range(5)))
        same("questions", self.questions("sampling/createMessage"), 6)

    async def elicitation(self):
        if not self.asks:
            return await self.refused(self.target.elicitation)
        has(text(await self.call(self.target.elicitation)), "Name: Ada Lovelace")
        same("questions", self.questions("elicitation/create"), self.target.forms)

    async def roots(self):
        if not self.asks:
            await self.s.client.send_roots_list_changed()
            return await self.refused(self.target.roots)
        if self.target.roots_at_start:
            await until("roots/list", lambda: self.questions("roots/list") > 0)
        has(text(await self.call(self.target.roots)), "file:///srv/project")
        before = self.questions("roots/list")
        assert before > 0, "the roots were not asked for"
        self.s.roots.append("file:///srv/second")
        await self.s.client.send_roots_list_changed()
        if self.target.roots_at_start:
            await until("second roots/list", lambda: self.questions("roots/list") > before)
            await asyncio.sleep(0.1)
        has(text(await self.call(self.target.roots)), "file:///srv/second")

    async def subscribe_update(self):
        uri, tool = self.target.update
        await self.s.client.subscribe_resource(self.lib.uri(uri))
        await self.call(tool)
        await until("resource update", lambda: uri in self.s.updates)
        await self.call(tool)
        await self.s.client.unsubscribe_resource(self.lib.uri(uri))
        # What is under way may still come.
        await asyncio.sleep(0.2)
        seen = len(self.s.updates)
        await self.call(tool)
        await self.call(tool)
        await asyncio.sleep(0.2)
        same("updates after the subscription", len(self.s.updates) - seen, 0)

    async def list_change(self):
        tool, args, lists = self.target.change
        self.s.changed.clear()
        await self.call(tool, args)
        await until("change of every list", lambda: set(lists) <= set(self.s.changed))
        same("lists that changed", sorted(set(self.s.changed)), sorted(lists))
        resources = (await self.s.client.list_resources()).resources
        same("resources", len(resources), self.target.resources + 1)

    async def logging(self):
        target, logs = self.target, self.s.logs

        async def logged():
            if target.log_toggle:
                await self.call(target.log_toggle)
            else:
                await self.call(target.long, {"duration": target.log_seconds, "steps": 4})

        await self.s.client.set_logging_level("debug")
        await logged()
        await until("log message", lambda: any(re.search(target.log_line, log) for log in logs))
        if not target.log_toggle:
            await self.s.client.set_logging_level("warning")
        logs.clear()
        await logged()
        if not target.log_toggle:
            same("lines below the level", logs, [])

    async def cancel(self):
        first = asyncio.Event()

        async def on_progress(progress, total, message):
            first.set()

        start = len(self.s.wire)
        call = self.call(self.target.long, {"duration": 1.5, "steps": 3}, progress_callback=on_progress)
        task = asyncio.create_task(call)
        await first.wait()
        # Both libraries use the id of a request as its progress token.
        seen = self.s.wire[start:]
        number = next(m["params"]["progressToken"] for m in seen if m.get("method") == "notifications/progress")
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        if not self.lib.sends_cancelled:
            # This library tells the server nothing when a task ends, so do it for it.
            params = {"requestId": number, "reason": "enough"}
            cancelled = {"method": "notifications/cancelled", "params": params}
            note = self.lib.types.CancelledNotification.model_validate(cancelled)
            await self.s.client.send_notification(self.lib.notification(note))
        # The server answers in 1.5 s, unless it learns that the call is cancelled; an error
        # may end the call's stream.
        await asyncio.sleep(2)
        answered = any(m.get("id") == number and "result" in m for m in self.s.wire[start:])
        assert not answered, "the cancelled call was answered"
        await self.echo("after cancel")
        if self.target is MODERN:
            same("calls that were cancelled", text(await self.call("stopped")), "1 stopped")

    async def beside(self):
        uri, tool = self.target.update
        async with self.open() as other:
            # What one session switches on, the other one sees: they have one process.
            await self.s.client.subscribe_resource(self.lib.uri(uri))
            self.s.updates.clear()
            await self.call(tool, s=other)
            await until("resource update", lambda: uri in self.s.updates)
            await self.call(tool, s=other)
            same("updates of another session", other.updates, [])
            await asyncio.gather(*(self.echo(f"message {i}", self.s if i % 2 else other) for i in range(40)))
            await self.delete(other, other.id)
        await self.echo("after the other session")
        await self.s.client.unsubscribe_resource(self.lib.uri(uri))

    async def resume(self):
        # The library reconnects on its own.
        got, before = [], self.resumed

        async def on_progress(progress, total, message):
            got.append(progress)

        self.cut_next = True
        call = self.call(self.target.long, {"duration": 2, "steps": 5}, progress_callback=on_progress)
        result = await asyncio.wait_for(call, 9)
        assert self.resumed > before, "the call ended without a resumption"
        same("progress with a reconnection", got, [1, 2, 3, 4, 5])
        has(text(result), "completed")

        # A client that went away; another one takes its session and its call over.
        token = None

        async def on_token(value):
            nonlocal token
            token = value

        async with self.open() as first:
            call = asyncio.create_task(self.call_resumable(first, 2, on_resumption_token_update=on_token))
            await until("first progress event", lambda: first.progress)
            await until("resumption token", lambda: token)
            call.cancel()
            await asyncio.wait([call])
        async with self.open(resume=first) as second:
            result = await asyncio.wait_for(self.call_resumable(second, 2, resumption_token=token), 9)
            has(text(result), "completed")
            same("progress with a resumption token", first.progress + second.progress, [1, 2, 3, 4, 5])
            await self.echo("after resume", second)
            await self.delete(second, first.id)

    async def delete(self, s, session_id):
        answer = await s.http.delete(self.url, headers={"mcp-session-id": session_id})
        assert answer.status_code in (200, 202, 204), f"DELETE gives {answer.status_code}"

    async def terminate(self):
        assert self.s.id, "no session id"
        await self.delete(self.s, self.s.id)
        try:
            await self.echo("late")
        except Exception:
            same("last POST", [a for a in self.s.answers if a[0] == "POST"][-1], ("POST", 404))
        else:
            raise AssertionError("the session still works")

    # ---- running them

    def fail(self, name, error):
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self.failed += 1
        reason = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:300]
        print(f"FAIL {name}: {reason}", flush=True)

    async def step(self, name, body):
        try:
            async with asyncio.timeout(STEP_S):
                await body()
        except Exception as error:
            self.fail(name, error)
        else:
            print(f"ok {name}", flush=True)

    async def all(self):
        steps = {
            "connect": self.connect,
            "list-tools": self.list_tools,
            "list-resources": self.list_resources,
            "list-templates": self.list_templates,
            "read-resource": self.read_resource,
            "list-prompts": self.list_prompts,
            "get-prompt": self.get_prompt,
            "complete": self.complete,
            "echo": self.echo_step,
            "tool-error": self.tool_error,
            "progress": self.progress,
            "concurrent": self.concurrent,
            "sampling": self.sampling,
            "elicitation": self.elicitation,
            "roots": self.roots,
        }
        if not self.stateless:
            # What a request leaves behind for the next one needs a session.
            steps |= {
                "subscribe-update": self.subscribe_update,
                "list-change": self.list_change,
                "logging": self.logging,
                "cancel": self.cancel,
            }
        if self.shared:
            steps["beside"] = self.beside
        if self.resumable:
            # Only Streamable HTTP resumes, and has a request that ends a session.
            steps |= {"resume": self.resume, "terminate": self.terminate}
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(STEP_S):
                    self.s = await stack.enter_async_context(self.open())
                for name, body in steps.items():
                    await self.step(name, body)
        except Exception as error:
            self.fail("connect" if self.s is None else "close", error)
        if self.resumable:
            print(f"requests with Last-Event-ID: {self.resumed}", file=sys.stderr)


def main(lib):
    # Their warnings are about API that the 2026 protocol drops.
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    run = Run(lib, sys.argv[1:])

    async def bounded():
        async with asyncio.timeout(PROGRAM_S):
            await run.all()

    try:
        asyncio.run(bounded())
    except TimeoutError as error:
        run.fail("timeout", error)
    sys.exit(1 if run.failed else 0)
