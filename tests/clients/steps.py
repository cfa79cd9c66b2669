"""The steps of py1.py and py2.py; Lib hides where the two APIs differ."""

import asyncio
import base64
import logging
import os
import re
import sys
import warnings
from contextlib import AsyncExitStack, asynccontextmanager

STEP_S = 30
PROGRAM_S = 110
LONG = "trigger-long-running-operation"
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
        self.progress = []
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
        self.url = None if argv[0] == "stdio" else argv[0]
        self.command = argv[1:]
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
                if run.cut_next and request.method == "POST" and LONG.encode() in await request.aread():
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
            if self.url:
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
            s.asked.append(dump(params))
            content = {"type": "text", "text": "sampled 4711"}
            return types.CreateMessageResult.model_validate(
                {"role": "assistant", "model": "test-model", "content": content}
            )

        async def elicitation(context, params):
            s.asked.append(dump(params))
            content = {"name": "Ada Lovelace", "integer": 7}
            return types.ElicitResult.model_validate({"action": "accept", "content": content})

        async def roots(context):
            s.asked.append("roots/list")
            return types.ListRootsResult.model_validate({"roots": [{"uri": uri, "name": "root"} for uri in s.roots]})

        async def log(params):
            s.logs.append(str(params.data))

        async def message(item):
            if not isinstance(item, Exception) and hasattr(item, "model_dump"):
                n = dump(item)
                if n.get("method") == "notifications/resources/updated":
                    s.updates.append(n["params"]["uri"])

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
        params = {"name": LONG, "arguments": {"duration": seconds, "steps": 5}, "_meta": {"progressToken": "resumable"}}
        request = types.CallToolRequest.model_validate({"method": "tools/call", "params": params})
        session = s.client if metadata.get("resumption_token") else self.lib.session(s.client)
        return await session.send_request(
            self.lib.request(request), types.CallToolResult, metadata=self.lib.Metadata(**metadata)
        )

    # ---- the steps

    async def list_tools(self):
        tools = {t["name"]: t for t in dump(await self.s.client.list_tools())["tools"]}
        asking = ("get-roots-list", "trigger-sampling-request", "trigger-elicitation-request")
        for name in ("echo", "get-sum", LONG, *asking):
            assert name in tools, f"{name} is not listed"
        assert tools["get-sum"]["inputSchema"]["properties"]["a"]["type"] == "number"

    async def list_resources(self):
        same("resources", len((await self.s.client.list_resources()).resources), 7)

    async def list_templates(self):
        templates = dump(await self.s.client.list_resource_templates())["resourceTemplates"]
        same("templates", sorted(t["uriTemplate"].split("/")[-2] for t in templates), ["blob", "text"])

    async def read_resource(self):
        async def read(uri):
            return dump(await self.s.client.read_resource(self.lib.uri(uri)))["contents"][0]

        first = dump(await self.s.client.list_resources())["resources"][0]["uri"]
        assert len((await read(first))["text"]) > 100
        assert (await read("demo://resource/dynamic/text/7"))["text"].startswith("Resource 7: ")
        blob = (await read("demo://resource/dynamic/blob/8"))["blob"]
        assert base64.b64decode(blob).startswith(b"Resource 8: ")

    async def list_prompts(self):
        names = sorted(p.name for p in (await self.s.client.list_prompts()).prompts)
        same("prompts", names, ["args-prompt", "completable-prompt", "resource-prompt", "simple-prompt"])

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
        assert dump(await self.call("get-sum", {"a": "one", "b": 2}))["isError"] is True
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

        result = await self.call(LONG, {"duration": 1, "steps": 5}, progress_callback=on_progress)
        same("progress before the result", got, [1, 2, 3, 4, 5])
        has(text(result), "completed")
        # Python 2 may list the tools after its call, hence the six.
        wire = [m.get("params", {}).get("progress", "result" if "result" in m else None) for m in self.s.wire[start:]]
        same("events on the wire", [event for event in wire if event][:6], [1, 2, 3, 4, 5, "result"])

    async def concurrent(self):
        async def add(i):
            has(text(await self.call("get-sum", {"a": i, "b": 1000})), f" {i + 1000}.")

        slow = asyncio.create_task(self.call(LONG, {"duration": 0.5, "steps": 1}))
        await asyncio.gather(*(add(i) for i in range(40)), *(self.echo(f"message {i}") for i in range(40)))
        has(text(await slow), "completed")

    async def sampling(self):
        has(text(await self.call("trigger-sampling-request", {"prompt": "say hi"})), "sampled 4711")
        has(str(self.s.asked[-1]), "say hi")

    async def elicitation(self):
        has(text(await self.call("trigger-elicitation-request")), "Name: Ada Lovelace")

    async def roots(self):
        asked = lambda: self.s.asked.count("roots/list")
        await until("roots/list", lambda: asked() > 0)
        has(text(await self.call("get-roots-list")), "file:///srv/project")
        before = asked()
        self.s.roots.append("file:///srv/second")
        await self.s.client.send_roots_list_changed()
        await until("second roots/list", lambda: asked() > before)
        await asyncio.sleep(0.1)
        has(text(await self.call("get-roots-list")), "file:///srv/second")

    async def subscribe_update(self):
        uri = "demo://resource/dynamic/text/1"
        await self.s.client.subscribe_resource(self.lib.uri(uri))
        await self.call("toggle-subscriber-updates")
        await until("resource update", lambda: uri in self.s.updates)
        await self.call("toggle-subscriber-updates")
        await self.s.client.unsubscribe_resource(self.lib.uri(uri))

    async def logging(self):
        await self.s.client.set_logging_level("debug")
        await self.call("toggle-simulated-logging")
        await until("log message", lambda: any(re.search("level.message", log) for log in self.s.logs))
        await self.call("toggle-simulated-logging")

    async def cancel(self):
        first = asyncio.Event()

        async def on_progress(progress, total, message):
            first.set()

        start = len(self.s.wire)
        task = asyncio.create_task(self.call(LONG, {"duration": 1.5, "steps": 3}, progress_callback=on_progress))
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
        # The server answers in 1.5 s, unless it learns that the call is cancelled.
        await asyncio.sleep(2)
        answered = any(m.get("id") == number and "method" not in m for m in self.s.wire[start:])
        assert not answered, "the cancelled call was answered"
        await self.echo("after cancel")

    async def resume(self):
        # The library reconnects on its own.
        got, before = [], self.resumed

        async def on_progress(progress, total, message):
            got.append(progress)

        self.cut_next = True
        call = self.call(LONG, {"duration": 2, "steps": 5}, progress_callback=on_progress)
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
            "subscribe-update": self.subscribe_update,
            "logging": self.logging,
            "cancel": self.cancel,
            "resume": self.resume,
            "terminate": self.terminate,
        }
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(STEP_S):
                    self.s = await stack.enter_async_context(self.open())
                    initialized = next(m["result"] for m in self.s.wire if "serverInfo" in m.get("result", {}))
                    has(initialized["serverInfo"]["name"], "everything")
                    await self.s.client.send_ping()
                print("ok connect", flush=True)
                for name, body in steps.items():
                    if name in ("resume", "terminate") and not self.url:
                        print(f"skip {name}: no HTTP", flush=True)
                    else:
                        await self.step(name, body)
        except Exception as error:
            self.fail("connect" if self.s is None else "close", error)
        if self.url:
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
