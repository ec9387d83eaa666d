package harness

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A Gate passes TCP connections on to a server. While it is closed, nothing passes in either
// direction, and nobody is told: that is how a partition of the network looks to both sides.
type Gate struct {
	listener net.Listener
	to       string

	mu     sync.Mutex
	open   chan struct{} // closed while the gate is open
	conns  []net.Conn
	ended  bool
	copies sync.WaitGroup
}

// NewGate returns an open gate to an address.
func NewGate(t testing.TB, to string) *Gate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &Gate{listener: listener, to: to, open: make(chan struct{})}
	close(g.open)
	g.copies.Go(g.accept)
	t.Cleanup(g.end)
	return g
}

// Address returns where clients connect to instead of the server.
func (g *Gate) Address() string { return g.listener.Addr().String() }

// Close holds all bytes from now on.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

// Open lets pass what has been held, and what follows.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.open)
}

func (g *Gate) wait() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
}

func (g *Gate) accept() {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.copies.Go(func() { g.pass(client) })
	}
}

// pass connects a client to the server.
func (g *Gate) pass(client net.Conn) {
	if !g.hold(client) {
		return
	}
	g.wait()
	server, err := net.Dial("tcp", g.to)
	if err != nil {
		Reset(client)
		return
	}
	if !g.hold(server) {
		return
	}
	for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
		g.copies.Go(func() {
			_, _ = io.Copy(gated{g, pair[1]}, pair[0]) // its end is the other side's
			client.Close()
			server.Close()
		})
	}
}

// hold keeps a connection until the end. It reports false if that has come.
func (g *Gate) hold(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		c.Close()
		return false
	}
	g.conns = append(g.conns, c)
	return true
}

func (g *Gate) end() {
	g.listener.Close()
	g.mu.Lock()
	g.ended = true
	for _, c := range g.conns {
		c.Close()
	}
	select {
	case <-g.open:
	default:
		close(g.open)
	}
	g.mu.Unlock()
	g.copies.Wait()
}

// gated writes while the gate is open.
type gated struct {
	gate *Gate
	to   io.Writer
}

func (w gated) Write(data []byte) (int, error) {
	w.gate.wait()
	return w.to.Write(data)
}
