"""The steps of py2_modern.py and fm_modern.py; Lib hides where the two APIs differ. The
target names what is behind the gateway: 'everything', the official test server, or
'modern', modern_server.mjs."""

import asyncio
import logging
import re
import sys
import time
import warnings
from contextlib import AsyncExitStack

import httpx2
import mcp_types as types
from mcp.client.subscriptions import ResourceUpdated

from targets import MODERN, TARGETS

REVISION = "2026-07-28"
STEP_S = 30
PROGRAM_S = 110
NASTY = 'é 漢字 😀 "quoted" \\ tab\t line\nnext\r\n \u2028 \u0085 \u0001 data: x\n\nid: 9\n\n'
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
# The kinds of lists by the event that says that one changed.
LISTS = {"ToolsListChanged": "tools", "PromptsListChanged": "prompts", "ResourcesListChanged": "resources"}


class Lib:
    """The base of both adapters; its members are in py2_modern.py."""


class Asked:
    """What the server asked of the client, and its answers."""

    def __init__(self):
        self.sampled, self.forms, self.roots, self.logs = [], 0, 0, []

    async def sampling(self, params):
        self.sampled.append(str(params))
        content = {"type": "text", "text": "sampled 4711"}
        answer = {"role": "assistant", "model": "test-model", "content": content}
        return types.CreateMessageResult.model_validate(answer)

    async def elicitation(self, params):
        self.forms += 1
        given = {"name": "Ada Lovelace", "integer": 7, "sure": True}
        return {key: given[key] for key in params.requested_schema["properties"] if key in given}

    async def list_roots(self):
        self.roots += 1
        return [types.Root.model_validate({"uri": "file:///srv/project", "name": "project"})]

    async def log(self, params):
        self.logs.append(str(params.data))


def text(result):
    return "\n".join(getattr(c, "text", "") for c in result.content)


def same(what, actual, expected):
    assert actual == expected, f"{what}: {actual}, expected {expected}"


def has(text, part):
    assert part in text, f"{part!r} is not in {text[:200]!r}"


class Run:
    def __init__(self, lib, mode, target, url):
        self.lib, self.mode, self.url = lib, mode, url
        self.target = TARGETS[target]
        self.asked, self.faults, self.failed = Asked(), [], 0

    def http_client(self):
        # The 2026 wire has neither sessions nor requests other than POST.
        async def look(response):
            if response.request.method != "POST":
                self.faults.append(f"the client sent {response.request.method}")
            if "mcp-session-id" in response.headers:
                self.faults.append("an answer has a session id")

        return httpx2.AsyncClient(timeout=httpx2.Timeout(30, read=60), event_hooks={"response": [look]})

    def call(self, name, args=None, **options):
        return self.lib.call(name, args or {}, **options)

    async def echo(self, message):
        answer = text(await self.call("echo", {"message": message}))
        assert answer == f"Echo: {message}", f"got {answer[:80]!r}"

    async def until(self, what, condition):
        for _ in range(200):
            if await condition():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{what} did not happen in 10 s")

    # ---- the steps

    async def connect(self):
        same("revision", self.lib.client.protocol_version, REVISION)
        if self.mode == "auto":
            # A pinned client asks nothing when it connects.
            same("server", self.lib.client.server_info.name, self.target.server)
            assert self.lib.client.server_capabilities.resources.subscribe
            assert self.lib.client.instructions

    async def list_tools(self):
        target = self.target
        tools = {tool.name: tool for tool in await self.lib.tools()}
        for name in ("echo", target.add, target.long, target.sampling, target.elicitation, target.roots):
            assert name in tools, f"{name} is not listed"
        same("schema", tools[target.add].input_schema["properties"]["a"]["type"], "number")
        if target.roots_at_start:
            # The official server asks for roots soon after its start. A call that is in
            # flight then, and ends before it is asked, would take the question with it.
            await asyncio.sleep(1)

    async def list_resources(self):
        same("resources", len(await self.lib.resources()), self.target.resources)

    async def list_templates(self):
        same("templates", sorted(t.uri_template for t in await self.lib.templates()), self.target.templates)

    async def read_resource(self):
        for uri, expected in self.target.texts.items():
            assert re.match(expected, (await self.lib.read(uri))[0].text), uri

    async def list_prompts(self):
        same("prompts", sorted(p.name for p in await self.lib.prompts()), self.target.prompts)

    async def get_prompt(self):
        prompt = await self.lib.client.get_prompt("args-prompt", {"city": "Köln", "state": "NRW"})
        has(prompt.messages[0].content.text, "Köln, NRW")

    async def complete(self):
        ref = types.PromptReference(type="ref/prompt", name="completable-prompt")

        async def complete(name, value, context=None):
            return await self.lib.complete(ref, {"name": name, "value": value}, context)

        same("departments", await complete("department", "S"), ["Sales", "Support"])
        same("names", await complete("name", "B", {"department": "Engineering"}), ["Bob"])

    async def echo_step(self):
        await self.echo("hello")
        await self.echo(NASTY)
        await self.echo("x" * 500_000)
        if self.target is MODERN:
            # The client copies this argument into the header Mcp-Param-Channel.
            for channel in ("plain", "é 漢字", " padded "):
                answer = text(await self.call("echo", {"message": "hello", "channel": channel}))
                same("answer", answer, f"Echo on {channel}: hello")
            return

        # What the official server asked outside any call, the next call has to bring along.
        async def asked():
            await self.echo("roots?")
            return self.asked.roots

        await self.until("roots/list", asked)

    async def tool_error(self):
        assert (await self.call(self.target.add, {"a": "one", "b": 2})).is_error is True
        try:
            await self.lib.read("demo://no/such/thing")
        except Exception as error:
            same("error code", error.error.code, -32602)
        else:
            raise AssertionError("no error for an unknown resource")

    async def progress(self):
        got = []

        async def on_progress(progress, total, message):
            got.append(progress)

        result = await self.call(self.target.long, {"duration": 1, "steps": 5}, on_progress=on_progress)
        same("progress before the result", got, [1, 2, 3, 4, 5])
        has(text(result), "completed")

    async def concurrent(self):
        async def add(i):
            has(text(await self.call(self.target.add, {"a": i, "b": 1000})), f" {i + 1000}.")

        slow = asyncio.create_task(self.call(self.target.long, {"duration": 0.5, "steps": 1}))
        await asyncio.gather(*(add(i) for i in range(40)), *(self.echo(f"message {i}") for i in range(40)))
        has(text(await slow), "completed")

    async def sampling(self):
        has(text(await self.call(self.target.sampling, {"prompt": "say hi"})), "sampled 4711")
        has(str(self.asked.sampled), "say hi")

    async def elicitation(self):
        has(text(await self.call(self.target.elicitation)), "Name: Ada Lovelace")
        same("questions", self.asked.forms, self.target.forms)

    async def roots(self):
        has(text(await self.call(self.target.roots)), "file:///srv/project")
        assert self.asked.roots > 0

    async def subscribe_update(self):
        uri, tool = self.target.update
        async with self.lib.listen(resource_subscriptions=[uri]) as subscription:
            same("acknowledged", subscription.honored.resource_subscriptions, [uri])
            await self.call(tool)
            async with asyncio.timeout(10):
                same("event", await anext(subscription), ResourceUpdated(uri=uri))
            await self.call(tool)

    async def list_change(self):
        tool, args, lists = self.target.change
        changed = set()
        async with self.lib.listen(**{f"{name}_list_changed": True for name in lists}) as subscription:
            for name in lists:
                assert getattr(subscription.honored, f"{name}_list_changed"), f"{name} not acknowledged"
            await self.call(tool, args)
            async with asyncio.timeout(10):
                while not changed.issuperset(lists):
                    changed.add(LISTS[type(await anext(subscription)).__name__])
        same("lists that changed", sorted(changed), sorted(lists))
        same("resources", len(await self.lib.resources()), self.target.resources + 1)

    async def logging(self):
        target, logs = self.target, self.asked.logs
        long = {"duration": target.log_seconds, "steps": 4}
        if target.log_toggle:
            await self.call(target.log_toggle)
        if not self.lib.always_logs:
            await self.call(target.long, long | {"duration": 0.2})
            same("lines that no call asked for", logs, [])
        logs.clear()
        await self.call(target.long, long, meta={LOG_LEVEL: "debug"})
        assert any(re.search(target.log_line, log) for log in logs), f"no log line, only {logs}"
        if target.log_toggle:
            await self.call(target.log_toggle)
            return
        logs.clear()
        await self.call(target.long, long, meta={LOG_LEVEL: "warning"})
        same("lines below the level", logs, [])

    async def cancel(self):
        first = asyncio.Event()

        async def on_progress(progress, total, message):
            first.set()

        task = asyncio.create_task(self.call(self.target.long, {"duration": 3, "steps": 6}, on_progress=on_progress))
        await asyncio.wait([task, asyncio.create_task(first.wait())], return_when=asyncio.FIRST_COMPLETED)
        assert not task.done(), "the call ended before it was cancelled"
        start = time.monotonic()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert time.monotonic() - start < 1, "the call went on after it was cancelled"
        await self.echo("after cancel")
        if self.target is MODERN:

            async def stopped():
                return text(await self.call("stopped")) == "1 stopped"

            await self.until("cancellation in the server", stopped)

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
            same("on the wire", self.faults, [])
        except Exception as error:
            self.fail(name, error)
            return False
        finally:
            self.faults.clear()
        print(f"ok {name}", flush=True)
        return True

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
            "subscribe-update": self.subscribe_update,
            "list-change": self.list_change,
            "logging": self.logging,
            "cancel": self.cancel,
        }
        part = "connect"
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(STEP_S):
                    mode = REVISION if self.mode == "pin" else self.mode
                    opened = self.lib.open(self.url, mode, self.http_client(), self.asked)
                    await stack.enter_async_context(opened)
                part = "close"
                for name, body in steps.items():
                    if not await self.step(name, body) and name == "connect":
                        # No step may pass on the older wire, to which the library falls back.
                        return
            print("ok close", flush=True)
        except Exception as error:
            self.fail(part, error)


def main(lib):
    # Their warnings are about API that the 2026 protocol drops.
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    run = Run(lib, *sys.argv[1:])

    async def bounded():
        async with asyncio.timeout(PROGRAM_S):
            await run.all()

    try:
        asyncio.run(bounded())
    except TimeoutError as error:
        run.fail("timeout", error)
    sys.exit(1 if run.failed else 0)
