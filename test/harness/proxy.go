package harness

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A Proxy is a TCP proxy that can cut all of its connections at once.
type Proxy struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	down    bool
	conns   map[net.Conn]struct{}
	copying sync.WaitGroup
}

// StartProxy starts a proxy to an address. The end of the test stops it.
func StartProxy(t *testing.T, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: listener, target: target, conns: make(map[net.Conn]struct{})}
	p.copying.Go(p.accept)
	t.Cleanup(func() {
		listener.Close()
		p.Cut()
		p.copying.Wait()
	})
	return p
}

// URL returns the proxy's own address.
func (p *Proxy) URL() string { return "http://" + p.listener.Addr().String() }

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		if !p.connect(client, server) {
			client.Close()
			server.Close()
		}
	}
}

func (p *Proxy) connect(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return false
	}
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	p.copying.Go(func() { p.copy(client, server) })
	p.copying.Go(func() { p.copy(server, client) })
	return true
}

func (p *Proxy) copy(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	to.Close()
	from.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, to)
	delete(p.conns, from)
}

// Cut resets every connection and refuses new ones until Restore is called. Data on its
// way is lost.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for conn := range p.conns {
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

// Restore accepts connections again.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}
