package harness

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// A Balancer gives each request to the next of several servers, whichever session it is for.
type Balancer struct {
	server *httptest.Server

	mu      sync.Mutex
	servers []*Server
	next    int
}

// StartBalancer starts a balancer for servers. The end of the test stops it.
func StartBalancer(t *testing.T, servers ...*Server) *Balancer {
	t.Helper()
	b := &Balancer{servers: servers}
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	b.server = httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: b.target()})
			r.Out.Host = r.In.Host // the origin is compared with it
		},
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0), // clients that have gone
	})
	t.Cleanup(func() {
		b.server.CloseClientConnections()
		b.server.Close()
		transport.CloseIdleConnections()
	})
	return b
}

// target returns the address of the next server.
func (b *Balancer) target() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return b.servers[b.next%len(b.servers)].Address()
}

// Remove gives a server no more requests.
func (b *Balancer) Remove(s *Server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.servers = slices.DeleteFunc(slices.Clone(b.servers), func(other *Server) bool { return other == s })
}

// URL returns the balancer's own address.
func (b *Balancer) URL() string { return b.server.URL }

// StartNode starts a Node program of clients/ that talks to the balancer, as Server.StartNode does.
func (b *Balancer) StartNode(t *testing.T, script string, env ...string) *Program {
	t.Helper()
	NeedNode(t)
	return StartProgram(t, "node", filepath.Join("clients", script), append(env, "SERVER_URL", b.URL())...)
}
