// Package caddy makes the realtime library part of the Caddy web server: it is
// the only package that imports Caddy.
//
//   - app.go: the app "realtime", which holds the options of hubs
//   - handler.go: the HTTP handler "realtime", one configured endpoint
//   - caddyfile.go and globaloption.go: their Caddyfile syntax
//   - settings.go: what an endpoint's configuration comes to
//   - hub.go, endpoint.go, lease.go: what survives a reload
//   - handover.go, newcomers.go, parting.go: how connections get from one
//     configuration to the next
//   - drain.go: an exit; recovery.go, snapshot.go: what clients are given back
//     after it; store.go: where that is kept
//   - api.go, caddyfileapi.go: the HTTP API
//   - backend.go, caddyfilebackend.go: the guest "backend"; chain.go, attempt.go,
//     watched.go: how its requests run through Caddy, and what became of them
//   - relay.go, jwt.go, placeholder.go, memory.go: other guest modules; guest.go,
//     keep.go: how guests are loaded, and what of a handshake is kept for them
//
// Others extend it by guest modules of the namespaces realtime.handlers,
// realtime.authenticators and realtime.brokers. A guest is the interface
// itself: a [realtime.Handler], a [realtime.Authenticator], a [cluster.Broker].
package caddy
