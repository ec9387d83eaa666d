package wsconn

import "errors"

// The errors of Read that say that the peer has broken the protocol. It has been told by
// a close frame. Every other error of Read is the end of the connection.
var (
	// ErrNotUTF8 is answered with 1007 (RFC 6455, section 8.1).
	ErrNotUTF8 = errors.New("text message is not valid UTF-8")

	// ErrTooBig is answered with 1009.
	ErrTooBig = errors.New("message is larger than limits payload")

	// ErrProtocol is answered with 1002.
	ErrProtocol = errors.New("breach of the WebSocket protocol")
)

// Violation reports whether err is, or wraps, one of the errors above.
func Violation(err error) bool { return closeCode(err) != 0 }
