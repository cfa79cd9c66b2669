# A server from PyPI, with the gateway in front of it. `docker build -t mcp-http-gateway .` comes first.
#
#   docker build -t time -f packaging/docker/python.Dockerfile .
#   docker run -p 127.0.0.1:8080:8080 --read-only --tmpfs /tmp time \
#     --listen 0.0.0.0:8080 --insecure-no-auth --allowed-host 127.0.0.1 --cmd mcp-server-time
FROM python:3.13-slim-bookworm
ARG SERVER=mcp-server-time
RUN pip install --no-cache-dir "$SERVER"
COPY --from=mcp-http-gateway /mcp-http-gateway /usr/local/bin/
USER 65532:65532
ENV MCP_GATEWAY_ADMIN_LISTEN=127.0.0.1:9090
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["mcp-http-gateway", "healthcheck"]
# It starts and stops the server, and takes in what the server leaves behind: no init beside it.
ENTRYPOINT ["mcp-http-gateway"]
CMD ["--cmd", "mcp-server-time"]
