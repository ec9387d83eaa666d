package chaos

import (
	"errors"
	"time"
)

// A transport carries the Engine.IO packets of one session.
type transport interface {
	// read waits for the next packet until the deadline. The bytes are good until it
	// is called again.
	read(deadline time.Time) ([]byte, error)
	// write sends a packet, or queues it. It may be called concurrently.
	write(packet []byte) error
	// close ends the session. It may be called concurrently and more than once.
	close()
}

// errEnded is what reading ends with where the server has closed the session in
// order.
var errEnded = errors.New("closed by the server")

// A handshake is what an Engine.IO session begins with.
type handshake struct {
	SID          string
	PingInterval int // ms
	PingTimeout  int // ms
}

// silence is how long nothing may be heard from the server.
func (h handshake) silence() time.Duration {
	return time.Duration(h.PingInterval+h.PingTimeout) * time.Millisecond
}
