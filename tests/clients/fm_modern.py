"""The client of fastmcp, 4.x line, on the 2026-07-28 wire.
Usage: python fm_modern.py auto|pin everything|modern URL"""

from contextlib import asynccontextmanager

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from mcp.client.subscriptions import listen

import modern_steps


class Lib(modern_steps.Lib):
    # It asks for logs down to debug with every request, also with lists.
    always_logs = True

    @asynccontextmanager
    async def open(self, url, mode, http, asked):
        async def sampling(messages, params, context):
            return await asked.sampling(params)

        async def elicitation(message, response_type, params, context):
            return await asked.elicitation(params)

        async def roots(context):
            return await asked.list_roots()

        handlers = dict(
            sampling_handler=sampling,
            elicitation_handler=elicitation,
            roots=roots,
            log_handler=asked.log,
        )
        transport = StreamableHttpTransport(url, httpx_client_factory=lambda **_: http)
        async with Client(transport, mode=mode, **handlers) as self.client:
            yield

    def tools(self):
        return self.client.list_tools()

    def resources(self):
        return self.client.list_resources()

    def templates(self):
        return self.client.list_resource_templates()

    def prompts(self):
        return self.client.list_prompts()

    def read(self, uri):
        return self.client.read_resource(uri)

    async def complete(self, ref, argument, context):
        return (await self.client.complete(ref, argument, context)).values

    def call(self, name, args, on_progress=None, meta=None):
        return self.client.call_tool(name, args, progress_handler=on_progress, meta=meta, raise_on_error=False)

    def listen(self, **wanted):
        # fastmcp has no call of its own for this.
        return listen(self.client.session, **wanted)


modern_steps.main(Lib())
