package scenario

import (
	"errors"
	"net"
	"os"
	"time"
)

// A gate is a connection from which nothing can be read while the gate is shut.
type gate struct {
	net.Conn
	changed chan struct{} // gets a value when the gate opens, or the connection is closed
}

func newGate(conn net.Conn) *gate { return &gate{conn, make(chan struct{}, 1)} }

func (g *gate) shut() { _ = g.SetReadDeadline(time.Unix(1, 0)) }

func (g *gate) open() {
	_ = g.SetReadDeadline(time.Time{})
	g.change()
}

func (g *gate) change() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// Read implements net.Conn.
func (g *gate) Read(p []byte) (int, error) {
	for {
		n, err := g.Conn.Read(p)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		<-g.changed
	}
}

// Close implements net.Conn.
func (g *gate) Close() error {
	defer g.change()
	return g.Conn.Close()
}
