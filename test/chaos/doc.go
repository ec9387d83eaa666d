// Package chaos has what the fault tests need: clients that behave as
// socket.io-client does and note every error that they see, thousands of them at
// once, publishers and a backend, and the checker that judges what all of them
// have logged. It knows nothing of Caddy.
//
// The promise that the checker holds a server to: ordered per sender and receiver;
// never a duplicate; what was acknowledged is delivered; and a gap only where the
// client was told that it was not recovered.
//
//   - source.go, log.go, checker.go: who numbers what is sent, what one receiver
//     got of it, and whether all of that is as promised
//   - client.go, backoff.go, packet.go: a Socket.IO client; transport.go,
//     websocket.go, polling.go, connection.go and stale_unix.go: what it talks through
//   - crowd.go, speaker.go: many clients, and what each of them says and hears
//   - publisher.go, backend.go: those who emit by the HTTP API, and who handles events
//   - latency.go, timeline.go, table.go: figures
package chaos
