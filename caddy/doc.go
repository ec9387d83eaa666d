// Package caddy makes the realtime library part of the Caddy web server. With its internal
// packages, it is the only one that imports Caddy.
//
// The modules, and their Caddyfile syntax:
//
//   - app.go: the app "realtime", which holds the options of hubs; exit.go, recovery.go
//   - handler.go: the HTTP handler "realtime", one configured endpoint; api.go, limits.go,
//     health.go
//   - backend.go, relay.go, jwt.go, placeholder.go, memorybroker.go, redisbroker.go, natsbroker.go:
//     guest modules; networkbroker.go: what brokers over a network share; guest.go: how guests are
//     loaded; handshake.go, authentication.go: what guests may ask for
//   - caddyfile.go and caddyfile_*.go: the syntax; positions.go, suggest.go: what errors say
//
// From a configuration to what runs:
//
//   - settings.go: an endpoint's configuration, ready for use; it never changes
//   - generation.go, reference.go: what one loaded configuration owns while it runs
//   - hub.go, hubbroker.go, endpoint.go: what outlives configurations, with all connections
//   - serve.go: which part of an endpoint answers a request; forwarded.go: its scheme and host
//   - snapshot.go: what recovery keeps when the process ends
//   - hidden.go: warnings that other directives of a site hide an endpoint's paths
//   - anyorigin.go: errors about cookies where any page may connect
//
// Code that depends on Caddy's internals is in packages of its own: internal/handover (listeners
// at a reload), internal/drain (an exit), internal/chain (requests through HTTP handlers),
// internal/response (answers that wait) and internal/storage.
//
// Others extend it by guest modules of the namespaces realtime.handlers,
// realtime.authenticators and realtime.brokers. A guest implements the interface of its
// namespace: [realtime.Handler], [realtime.Authenticator] or [cluster.Broker].
package caddy
