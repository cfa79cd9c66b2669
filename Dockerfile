# The gateway alone: one static program in an empty image.
#
#   docker build -t mcp-http-gateway .
#   docker run -p 127.0.0.1:8080:8080 mcp-http-gateway --demo \
#     --listen 0.0.0.0:8080 --insecure-no-auth --allowed-host 127.0.0.1
#
# An image with your server in it takes the program from here: packaging/docker/node.Dockerfile, python.Dockerfile. In short
#
#   COPY --from=mcp-http-gateway /mcp-http-gateway /usr/local/bin/
FROM rust:1.95.0-bookworm AS build
# The toolchain of the image, without the components that rust-toolchain.toml wants for development.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
# What .dockerignore lets through.
COPY . .
RUN packaging/build-static /out

FROM scratch
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="mcp-http-gateway" \
      org.opencontainers.image.description="Puts any stdio MCP server on the network as Streamable HTTP" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"
COPY --from=build /out/mcp-http-gateway /mcp-http-gateway
USER 65532:65532
# Where probes ask; only the container itself reaches it.
ENV MCP_GATEWAY_ADMIN_LISTEN=127.0.0.1:9090
EXPOSE 8080
# The gateway lets calls in flight end (30 s): docker stop --time 45.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["/mcp-http-gateway", "healthcheck"]
ENTRYPOINT ["/mcp-http-gateway"]
