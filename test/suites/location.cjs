// A test of socket.io-client leaves the server's address out, which a browser takes
// from its page. Here it is that of the server under test.
globalThis.location = { hostname: "localhost", port: 3210 };
