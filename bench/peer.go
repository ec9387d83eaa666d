//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	peerRealtime = "realtime"
	peerNode     = "socket.io"
	peerProxy    = "reverse_proxy"
)

var allPeers = []string{peerRealtime, peerNode, peerProxy}

// peer is one of the servers that are compared.
type peer struct {
	name   string
	binary string // the Caddy binary, if the peer has one
}

func newPeer(name string) (peer, error) {
	if !slices.Contains(allPeers, name) {
		return peer{}, fmt.Errorf("-peers %q: want some of %s", name, strings.Join(allPeers, ","))
	}
	return peer{name: name}, nil
}

// memoryOnly says that the peer's CPU time is not measured: with a proxy it is that of
// two processes.
func (p peer) memoryOnly() bool { return p.name == peerProxy }

// start starts the peer's servers. Clients connect to the first one. The caller must
// stop each of them, even if start returns an error.
func (p peer) start(ctx context.Context, dir string) ([]*server, error) {
	node := func() (*server, error) {
		return startServer(ctx, dir, "node", []string{"bench/peers/server.mjs"}, "NODE_ENV=production")
	}
	caddy := func(config string, env ...string) (*server, error) {
		return startServer(ctx, dir, p.binary, []string{"run", "--adapter", "caddyfile", "--config", config}, env...)
	}
	one := func(s *server, err error) ([]*server, error) {
		if err != nil {
			return nil, err
		}
		return []*server{s}, nil
	}

	switch p.name {
	case peerRealtime:
		return one(caddy("bench/Caddyfile"))
	case peerNode:
		return one(node())
	}
	upstream, err := node()
	if err != nil {
		return nil, err
	}
	proxy, err := caddy("bench/peers/Caddyfile", fmt.Sprint("BENCH_UPSTREAM_PORT=", upstream.port))
	if err != nil {
		return []*server{upstream}, err
	}
	return []*server{proxy, upstream}, nil
}

// measure does one round with one peer: new processes, memory with idle connections,
// then a broadcast and acks over these connections. It adds the figures to rep and ends
// the servers.
func measure(ctx context.Context, o options, p peer, tmp string, rep *report, say func(string, ...any)) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*o.settle+10*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp(tmp, "round-")
	if err != nil {
		return fmt.Errorf("making a temporary directory: %w", err)
	}
	defer os.RemoveAll(dir)

	servers, err := p.start(ctx, dir)
	defer func() {
		for _, s := range servers {
			if err != nil && ctx.Err() == nil {
				say("%s", s.tail())
			}
			s.stop()
		}
	}()
	if err != nil {
		return err
	}

	idle, crowd, err := measureIdle(ctx, o, servers)
	if err != nil {
		return err
	}
	defer crowd.close()
	perConnection := func(bytes int64) float64 { return float64(bytes) / 1024 / float64(o.connections) }
	add := func(row string, before, after memory) {
		rep.rss.add(row, perConnection(after.rss-before.rss))
		rep.anonymous.add(row, perConnection(after.anonymous-before.anonymous))
		rep.total.add(row, float64(after.rss)/(1<<20))
		say("%s: %.1f KiB RSS, %.1f KiB of it anonymous, per idle connection (%.1f → %.1f MiB)", row,
			perConnection(after.rss-before.rss), perConnection(after.anonymous-before.anonymous),
			float64(before.rss)/(1<<20), float64(after.rss)/(1<<20))
	}
	if p.name == peerProxy {
		add(rowProxyAlone, idle[0].before, idle[0].after)
		add(rowProxyBoth, idle[0].before.plus(idle[1].before), idle[0].after.plus(idle[1].after))
	} else {
		add(p.name, idle[0].before, idle[0].after)
	}
	if p.memoryOnly() {
		return nil
	}

	b, err := measureBroadcast(ctx, o, servers[0], crowd)
	if err != nil {
		return fmt.Errorf("broadcasting: %w", err)
	}
	rep.broadcast.add(p.name, b.perMillion())
	rep.broadcastSlowest.add(p.name, b.slowest.Seconds()*1000)
	say("broadcast: %.2f CPU s per million of %d deliveries (%.0f a second; the slowest took %v; the clients took %.2f)",
		b.perMillion(), b.count, b.rate(), b.slowest.Round(time.Millisecond), b.clientPerMillion())

	a, err := measureAcks(ctx, o, servers[0], crowd)
	if err != nil {
		return fmt.Errorf("acks: %w", err)
	}
	rep.acks.add(p.name, a.perMillion())
	rep.acksSlowest.add(p.name, a.slowest.Seconds()*1000)
	say("acks: %.2f CPU s per million of %d acked events (%.0f a second; the slowest took %v; the clients took %.2f)",
		a.perMillion(), a.count, a.rate(), a.slowest.Round(time.Millisecond), a.clientPerMillion())
	return nil
}
