package chaos

import (
	"errors"
	"time"
)

// A transport carries the Engine.IO packets of one session.
type transport interface {
	// read waits for the next packet until the deadline. The bytes are valid until the
	// next call.
	read(deadline time.Time) ([]byte, error)
	// write sends a packet or queues it. It may be called concurrently.
	write(packet []byte) error
	// close ends the session. It may be called concurrently and more than once.
	close()
}

// errEnded is the error of a read after the server has closed the session in order.
var errEnded = errors.New("closed by the server")

// A handshake is the first packet of an Engine.IO session.
type handshake struct {
	SID          string
	PingInterval int // ms
	PingTimeout  int // ms
}

// silence is how long the server may be silent.
func (h handshake) silence() time.Duration {
	return time.Duration(h.PingInterval+h.PingTimeout) * time.Millisecond
}
