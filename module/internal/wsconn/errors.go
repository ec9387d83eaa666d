package wsconn

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gorilla/websocket"
)

// Errors of Read that are the peer's breach of the protocol; it has been told
// by a close frame. Every other error of Read is the end of the connection.
var (
	// ErrNotUTF8 is answered with 1007 (RFC 6455, section 8.1).
	ErrNotUTF8 = errors.New("text message is not valid UTF-8")

	// ErrTooBig is answered with 1009.
	ErrTooBig = errors.New("message is larger than limits payload")

	// ErrProtocol is answered with 1002.
	ErrProtocol = errors.New("breach of the WebSocket protocol")
)

// Violation reports whether err is, or wraps, one of the errors above.
func Violation(err error) bool {
	return errors.Is(err, ErrNotUTF8) || errors.Is(err, ErrTooBig) || errors.Is(err, ErrProtocol)
}

// readError turns what gorilla's reader returns into this package's errors.
// Its protocol errors have no type of their own, only their prefix; a close
// frame is a *websocket.CloseError, and the rest comes from the network.
func readError(err error) error {
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed):
		return err
	case errors.Is(err, websocket.ErrReadLimit):
		return ErrTooBig
	case strings.HasPrefix(err.Error(), "websocket: "):
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return err
}
