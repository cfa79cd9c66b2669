"""The official Python SDK, 2.x line, its Client in 'legacy' mode: the 2025
`initialize` handshake. Usage:
python py2.py everything|modern http|shared|stateless URL | stdio COMMAND ARGS..."""

from contextlib import asynccontextmanager

import httpx2
import mcp_types as types
from mcp import Client, ClientSession, MCPError
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import ClientMessageMetadata

import steps


class Lib(steps.Lib):
    http = httpx2
    types = types
    Error = MCPError
    Metadata = ClientMessageMetadata
    uri = str
    sends_cancelled = True

    def stdio(self, command, args, errlog):
        return stdio_client(StdioServerParameters(command=command, args=args), errlog=errlog)

    def streamable(self, url, client):
        return streamable_http_client(url, http_client=client, terminate_on_close=False)

    def raw(self, message):
        return message.message

    def connect(self, transport, callbacks):
        return Client(transport, mode="legacy", **callbacks)

    @asynccontextmanager
    async def attach(self, transport, callbacks):
        async with transport as (read, write), ClientSession(read, write, **callbacks) as session:
            yield session

    def session(self, client):
        return client.session

    def request(self, request):
        return request


steps.main(Lib())
