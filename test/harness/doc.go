// Package harness has what the tests of the built binary share. It builds the binary
// once, runs servers, clients and backends, and keeps what they tell.
//
//   - Main builds the binaries and runs the tests of a package.
//   - Start runs a Server with a Config; Reload, AskAdmin, Health and Log observe it.
//   - Session and WebSocket are clients of Engine.IO that send nothing by themselves;
//     StreamDialer opens WebSockets over HTTP/2 and HTTP/3; Exchange sends raw bytes.
//   - Program is a client in another language, or a browser: the files of clients/.
//   - Backend answers requests of a server; APIClient calls its HTTP API.
//   - Proxy cuts connections; Observer checks that other clients notice nothing.
//
// Every helper takes a testing.T, ends what it has started at the end of that test, and
// fails the test where it cannot go on. Helpers must be called by the goroutine of the
// test, except where they say otherwise.
package harness
