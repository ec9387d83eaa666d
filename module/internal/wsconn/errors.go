package wsconn

import "errors"

// The errors of Read that say that the peer has broken the protocol. It has been told by
// a close frame. Every other error of Read is the end of the connection.
var (
	// errNotUTF8 is answered with 1007 (RFC 6455, section 8.1).
	errNotUTF8 = errors.New("text message is not valid UTF-8")

	// errTooBig is answered with 1009.
	errTooBig = errors.New("message is larger than limits payload")

	// errProtocol is answered with 1002.
	errProtocol = errors.New("breach of the WebSocket protocol")
)

// errNoMessage says that only control frames have come.
var errNoMessage = errors.New("no message")

// Violation reports whether err says that the peer has broken the protocol.
func Violation(err error) bool { return closeCode(err) != 0 }
