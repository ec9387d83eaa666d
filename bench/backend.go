//go:build linux

package main

import (
	"context"
	"fmt"
)

// way is a way of an acked event to the code that answers it, and of its ack back.
type way struct {
	row   string
	peer  string // of -peers
	start func(ctx context.Context, t *tools, dir string) ([]*server, error)
}

// The rows of ways.
const (
	rowBackend       = "realtime, backend"
	rowBackendBatch  = "realtime, batch"
	rowProxyHandler  = "reverse_proxy, socket.io"
	rowDirectHandler = "socket.io alone"
)

var ways = []way{
	{rowBackend, peerRealtime, startBackend("")},
	{rowBackendBatch, peerRealtime, startBackend("batch")},
	{rowProxyHandler, peerProxy, startPeer(peerProxy)},
	{rowDirectHandler, peerNode, startPeer(peerNode)},
}

// startBackend starts a bare Node server and Caddy before it, with the option batch or nothing.
func startBackend(batch string) func(context.Context, *tools, string) ([]*server, error) {
	return func(ctx context.Context, t *tools, dir string) ([]*server, error) {
		return before(
			func() (*server, error) { return t.node(ctx, dir, "backend.mjs", false) },
			func(upstream *server) (*server, error) {
				return t.caddy(ctx, dir, "bench/backend.Caddyfile", false, upstreamPort(upstream), "BENCH_BATCH="+batch)
			})
	}
}

func startPeer(name string) func(context.Context, *tools, string) ([]*server, error) {
	return func(ctx context.Context, t *tools, dir string) ([]*server, error) {
		peers, err := choosePeers(name)
		if err != nil {
			return nil, err
		}
		return peers[0].start(ctx, t, dir, false)
	}
}

// backendConnections are the clients of one way.
const backendConnections = 50

// measureWay measures the CPU time of acked events on a way, in all its processes.
func (b *bench) measureWay(ctx context.Context, w way, dir string, say sayer) (err error) {
	servers, err := w.start(ctx, b.tools, dir)
	defer func() { stopAll(servers, err, say) }()
	if err != nil {
		return err
	}
	to := target{address: servers[0].address(), protocol: socketIO}
	crowd, err := connectCrowd(ctx, to, backendConnections, oneByOne)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer crowd.close()
	for _, figure := range []struct {
		column string
		window int
	}{{colBackend4, 4}, {colBackend1, 1}} {
		err := within(ctx, loadTimeout, func(ctx context.Context) error {
			c, err := (&calls{crowd, crowd.clients}).account(ctx, servers, b.backendEvents, figure.window)
			if err == nil {
				b.report.add(figure.column, w.row, c.micros())
				say("events with %d in flight: %v", figure.window, c)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("events with %d in flight: %w", figure.window, err)
		}
	}
	return nil
}
