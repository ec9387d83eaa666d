package harness

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A Proxy is a TCP proxy whose connections can be cut, all at once.
type Proxy struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	down    bool
	conns   map[net.Conn]struct{}
	copying sync.WaitGroup
}

func StartProxy(t *testing.T, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Proxy{listener: listener, target: target, conns: make(map[net.Conn]struct{})}
	c.copying.Go(c.accept)
	t.Cleanup(func() {
		listener.Close()
		c.Cut()
		c.copying.Wait()
	})
	return c
}

func (c *Proxy) URL() string { return "http://" + c.listener.Addr().String() }

func (c *Proxy) accept() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", c.target)
		if err != nil {
			client.Close()
			continue
		}
		if !c.connect(client, server) {
			client.Close()
			server.Close()
		}
	}
}

func (c *Proxy) connect(client, server net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return false
	}
	c.conns[client], c.conns[server] = struct{}{}, struct{}{}
	c.copying.Go(func() { c.copy(client, server) })
	c.copying.Go(func() { c.copy(server, client) })
	return true
}

func (c *Proxy) copy(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	to.Close()
	from.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, to)
	delete(c.conns, from)
}

// Cut resets every connection, and lets none through until mend is called: what
// is on its way is lost.
func (c *Proxy) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = true
	for conn := range c.conns {
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

func (c *Proxy) Restore() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = false
}
