// Package chaos has what the fault tests need: thousands of clients that behave like
// socket.io-client and report every error, publishers, a backend, and a checker of all
// that they have recorded. It does not know Caddy.
//
// The checker holds a server to this promise. Messages arrive in order per sender and
// receiver, and never twice. An acknowledged message is delivered. There is a gap only
// where the client was told that it was not recovered.
//
//   - source.go, record.go, checker.go: the numbers that a source sends, what one
//     receiver got of them, and whether that keeps the promise
//   - client.go, backoff.go, packet.go: a Socket.IO client; transport.go, websocket.go,
//     polling.go, connection.go and stale_unix.go: its transports
//   - crowd.go, sender.go: many clients, and what each of them sends and receives
//   - publisher.go, backend.go: publishers on the HTTP API, and a backend
//   - latency.go, timeline.go, table.go: figures
package chaos
