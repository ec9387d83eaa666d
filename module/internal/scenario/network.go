package scenario

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// A network is a listener in memory. What is written to its connections is held
// by no buffer: a write ends when the other side has read it.
type network struct {
	conns  chan net.Conn
	closed chan struct{}
	close  sync.Once
}

func newNetwork() *network {
	return &network{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// serve returns a server that is running.
func (n *network) serve(handler http.Handler) *http.Server {
	// WebSockets are written to below the server, which it finds worth mentioning.
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(n) }() // until its Close
	return server
}

// dial returns the client's end of a new connection.
func (n *network) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case n.conns <- theirs:
		return ours, nil
	case <-n.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener, like the rest.
func (n *network) Accept() (net.Conn, error) {
	select {
	case conn := <-n.conns:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	n.close.Do(func() { close(n.closed) })
	return nil
}

func (n *network) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// A gate is a connection from which nothing is read while it is shut.
type gate struct {
	net.Conn
	changed chan struct{} // gets a value when it is open again, or closed
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
