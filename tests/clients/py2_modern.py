"""The official Python SDK, 2.x line, on the 2026-07-28 wire.
Usage: python py2_modern.py auto|pin everything|modern URL"""

from contextlib import asynccontextmanager

import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

import modern_steps


class Lib(modern_steps.Lib):
    always_logs = False

    @asynccontextmanager
    async def open(self, url, mode, http, asked):
        async def sampling(context, params):
            return await asked.sampling(params)

        async def elicitation(context, params):
            return types.ElicitResult(action="accept", content=await asked.elicitation(params))

        async def roots(context):
            return types.ListRootsResult(roots=await asked.list_roots())

        callbacks = dict(
            sampling_callback=sampling,
            elicitation_callback=elicitation,
            list_roots_callback=roots,
            logging_callback=asked.log,
        )
        transport = streamable_http_client(url, http_client=http)
        async with http, Client(transport, mode=mode, **callbacks) as self.client:
            yield

    async def tools(self):
        return (await self.client.list_tools()).tools

    async def resources(self):
        return (await self.client.list_resources()).resources

    async def templates(self):
        return (await self.client.list_resource_templates()).resource_templates

    async def prompts(self):
        return (await self.client.list_prompts()).prompts

    async def read(self, uri):
        return (await self.client.read_resource(uri)).contents

    async def complete(self, ref, argument, context):
        return (await self.client.complete(ref, argument, context)).completion.values

    def call(self, name, args, on_progress=None, meta=None):
        return self.client.call_tool(name, args, progress_callback=on_progress, meta=meta)

    def listen(self, **wanted):
        return self.client.listen(**wanted)


modern_steps.main(Lib())
