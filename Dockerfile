# Caddy with realtime, and nothing else: no shell, no package manager, no root.
#
#	docker build --tag caddy-realtime .
#	docker run --publish 8080:8080 caddy-realtime
#
# serves the chat of Caddyfile.example at http://localhost:8080. For a site of
# your own see docs/operations.md.

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath \
	-ldflags "-s -w -X github.com/caddy-realtime/caddy-realtime/caddy.version=$VERSION" \
	-o /image/usr/bin/caddy ./caddy/realtime
RUN mkdir -p /image/etc/ssl/certs /image/etc/caddy /image/srv/examples /writable/data /writable/config && \
	cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ && \
	cp Caddyfile.example /image/etc/caddy/Caddyfile && \
	cp -r examples/chat /image/srv/examples/

FROM scratch
COPY --from=build /image/ /
COPY --from=build --chown=1000:1000 /writable/ /
USER 1000:1000
WORKDIR /srv
# Certificates, and what a restart gives back to clients.
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
VOLUME /data
EXPOSE 80 443 443/udp 8080
# An endpoint that is about to end answers 503. Of a site of yours, say where its
# health is: HEALTH_URL=https://example.com/health/realtime.
ENV HEALTH_URL=http://localhost:8080/health/realtime
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s CMD ["caddy", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile"]
