// Package test tests the built binary from outside: with the clients that people use
// (socket.io-client and ws in Node, a browser), with requests made by hand where clients
// are too well-behaved, and with the signals and reloads of an operator. README.md says
// what is tested where.
//
// Both binaries are built with the race detector, unless CHAOS=full asks for the figures
// of the fault tests. A race, a panic or an unexpected error in the log fails the test
// that has started the server.
package test
