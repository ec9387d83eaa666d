//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// The peers, as in -peers and in the rows of the report.
const (
	peerRealtime   = "realtime"
	peerNode       = "socket.io"
	peerProxy      = "reverse_proxy"
	peerGorilla    = "gorilla"
	peerCentrifuge = "centrifuge"
	peerNbio       = "nbio"
	peerEpoll      = "epoll"
)

// peer is one of the servers that are compared.
type peer struct {
	name     string
	title    string
	protocol *protocol
	secure   bool // it can be measured over TLS
	grows    bool // its memory is read with fewer and more connections, too
	// proxied says that the peer has two processes, and two descriptors for each connection.
	// Their CPU time counts together.
	proxied bool
	program string // of bench/peers, where the peer is written in Go
}

var allPeers = []peer{
	{name: peerRealtime, title: "this module", protocol: socketIO, secure: true, grows: true},
	{name: peerNode, title: "npm socket.io", protocol: socketIO, secure: true, grows: true},
	{name: peerProxy, title: "Caddy's `reverse_proxy` before npm socket.io", protocol: socketIO, secure: true, proxied: true},
	{name: peerGorilla, title: "bare gorilla/websocket", protocol: socketIO, secure: true, grows: true, program: "gorilla"},
	{name: peerCentrifuge, title: "centrifuge", protocol: centrifugeJSON, secure: true, program: "centrifuge"},
	{name: peerNbio, title: "nbio", protocol: socketIO, program: "nbio"},
	{name: peerEpoll, title: "raw epoll, the floor", protocol: socketIO, program: "epoll"},
}

// choosePeers returns the peers of a comma-separated list.
func choosePeers(list string) ([]peer, error) {
	var chosen []peer
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(allPeers, func(p peer) bool { return p.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("-peers %q: want some of %s", name, peerNames())
		}
		chosen = append(chosen, allPeers[i])
	}
	return chosen, nil
}

func peerNames() string {
	var names []string
	for _, p := range allPeers {
		names = append(names, p.name)
	}
	return strings.Join(names, ",")
}

// start starts the peer's servers. Clients connect to the first one. The caller must
// stop each of them, even if start returns an error.
func (p peer) start(ctx context.Context, t *tools, dir string, secure bool) ([]*server, error) {
	switch {
	case p.program != "":
		return one(t.program(ctx, dir, p.program, secure))
	case p.name == peerRealtime:
		return one(t.caddy(ctx, dir, "bench/Caddyfile", secure))
	case p.proxied:
		return before(
			func() (*server, error) { return t.node(ctx, dir, "server.mjs", false) },
			func(upstream *server) (*server, error) {
				return t.caddy(ctx, dir, "bench/peers/Caddyfile", secure, upstreamPort(upstream))
			})
	}
	return one(t.node(ctx, dir, "server.mjs", secure))
}

// to returns where the peer's clients connect.
func (p peer) to(servers []*server, secure bool) target {
	return target{address: servers[0].address(), secure: secure, protocol: p.protocol}
}

func one(s *server, err error) ([]*server, error) {
	if err != nil {
		return nil, err
	}
	return []*server{s}, nil
}

// before starts an upstream and then the server before it, which comes first in what it returns.
func before(upstream func() (*server, error), front func(upstream *server) (*server, error)) ([]*server, error) {
	up, err := upstream()
	if err != nil {
		return nil, err
	}
	s, err := front(up)
	if err != nil {
		return []*server{up}, err
	}
	return []*server{s, up}, nil
}

func upstreamPort(s *server) string { return fmt.Sprint("BENCH_UPSTREAM_PORT=", s.port) }

// stopAll ends servers. If err is not nil, it says how their output ends.
func stopAll(servers []*server, err error, say sayer) {
	for _, s := range servers {
		if err != nil {
			say("%s", s.tail())
		}
		s.stop()
	}
}

// tools are what servers are started with.
type tools struct {
	binary           string // Caddy with this module
	programs         string // the directory of those in Go
	certificate, key string
}

// program starts a peer that is written in Go.
func (t *tools) program(ctx context.Context, dir, name string, secure bool) (*server, error) {
	var env []string
	if secure {
		env = t.files()
	}
	return startServer(ctx, dir, filepath.Join(t.programs, name), nil, env...)
}

func (t *tools) node(ctx context.Context, dir, script string, secure bool) (*server, error) {
	env := []string{"NODE_ENV=production"}
	if secure {
		env = append(env, t.files()...)
	}
	return startServer(ctx, dir, "node", []string{filepath.Join("bench/peers", script)}, env...)
}

func (t *tools) caddy(ctx context.Context, dir, config string, secure bool, env ...string) (*server, error) {
	if secure {
		env = append(env, "BENCH_SCHEME=https", fmt.Sprintf("BENCH_TLS=tls %s %s", t.certificate, t.key))
	}
	return startServer(ctx, dir, t.binary, []string{"run", "--adapter", "caddyfile", "--config", config}, env...)
}

func (t *tools) files() []string {
	return []string{"BENCH_CERTIFICATE=" + t.certificate, "BENCH_KEY=" + t.key}
}
