// Package test tests the built binary from outside: with the clients that
// people use (socket.io-client and ws in Node, a browser), with hand-made
// requests where clients are too well-behaved, and with the signals and
// reloads of an operator.
//
//   - build_test.go, server_test.go, journal_test.go: the binaries, a running
//     server, what it logs
//   - node_test.go and clients/: Node programs and how the tests talk to them
//   - engine_test.go: an Engine.IO client that does nothing by itself
//   - tls_test.go: the same over TLS, by certificates of the server's own authority
//   - specification_test.go, original_test.go: what the protocols' specifications
//     require, and their own test suites
//   - clientsuites_test.go and suites/: the test suites of Socket.IO's own clients
//   - stream_test.go: WebSockets over HTTP/2 and HTTP/3, for which every wire can
//     be opened over them
//   - malformed_test.go, frame_test.go, handshake_test.go: what no good client
//     sends: packets and requests, WebSocket frames, handshakes
//   - api_test.go, types_test.go: the HTTP API, and the types for backends
//   - reload_test.go, handover_test.go, restart_test.go: what clients notice of a
//     reload, which is nothing, and of a restart
//   - departure_test.go: what a backend learns when the server is killed, or exits
//     while the backend is away
//   - differential_test.go, differences_test.go and differential/: the same
//     scenarios with Socket.IO's own server, and where the two may differ
//   - chaos_test.go, chaos_restart_test.go, chaos_fault_test.go and chaos/: a crowd
//     under load whose server is reloaded, restarted and killed, and what judges it;
//     arena_test.go, weight_test.go: that server, and what it takes up
//   - guests/ and server/: the application that runs inside the server
//
// Both binaries are built with the race detector, unless CHAOS=full asks for the
// figures of the fault tests; a race, a panic or an error in the log that a test did
// not expect fails the test whose server it was.
package test
