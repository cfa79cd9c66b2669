"""The official Python SDK, 1.x line. Usage:
python py1.py everything|modern http|sse|shared|stateless URL | stdio COMMAND ARGS..."""

from contextlib import asynccontextmanager

import httpx
import mcp.types as types
from mcp import ClientSession, McpError, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import ClientMessageMetadata
from mcp.types import ClientNotification, ClientRequest
from pydantic import AnyUrl

import steps


class Lib(steps.Lib):
    http = httpx
    types = types
    Error = McpError
    Metadata = ClientMessageMetadata
    uri = AnyUrl
    sends_cancelled = False

    def stdio(self, command, args, errlog):
        return stdio_client(StdioServerParameters(command=command, args=args), errlog=errlog)

    def streamable(self, url, client):
        return streamable_http_client(url, http_client=client, terminate_on_close=False)

    def sse(self, url):
        return sse_client(url)

    def raw(self, message):
        return message.message.root

    @asynccontextmanager
    async def connect(self, transport, callbacks):
        async with transport as (read, write), ClientSession(read, write, **callbacks) as session:
            await session.initialize()
            yield session

    @asynccontextmanager
    async def attach(self, transport, callbacks):
        async with transport as (read, write), ClientSession(read, write, **callbacks) as session:
            yield session

    def session(self, client):
        return client

    def request(self, request):
        return ClientRequest(request)

    def notification(self, notification):
        return ClientNotification(notification)


steps.main(Lib())
