# A server from npm, with the gateway in front of it. `docker build -t mcp-http-gateway .` comes first.
#
#   docker build -t everything -f packaging/docker/node.Dockerfile .
#   docker run -p 127.0.0.1:8080:8080 --read-only --tmpfs /tmp --tmpfs /home/node everything \
#     --listen 0.0.0.0:8080 --insecure-no-auth --allowed-host 127.0.0.1 --cmd 'mcp-server-everything stdio'
FROM node:22-bookworm-slim
ARG SERVER=@modelcontextprotocol/server-everything@2026.8.31
RUN npm install --global --ignore-scripts --no-audit --no-fund "$SERVER" && npm cache clean --force
COPY --from=mcp-http-gateway /mcp-http-gateway /usr/local/bin/
USER node
ENV MCP_GATEWAY_ADMIN_LISTEN=127.0.0.1:9090
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["mcp-http-gateway", "healthcheck"]
# It starts and stops the server, and takes in what the server leaves behind: no init beside it.
ENTRYPOINT ["mcp-http-gateway"]
CMD ["--cmd", "mcp-server-everything stdio"]
