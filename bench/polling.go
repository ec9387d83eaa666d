//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// polled is a server that answers GETs and POSTs.
type polled struct {
	row   string // the peer's name, unless bare
	bare  bool   // it knows nothing of Engine.IO: any answer is good
	start func(ctx context.Context, t *tools, dir string) ([]*server, error)
}

const (
	rowRespond = "respond"
	rowNetHTTP = "net/http"
)

var allPolled = []polled{
	{peerRealtime, false, startPeer(peerRealtime)},
	{peerNode, false, startPeer(peerNode)},
	{peerProxy, false, startPeer(peerProxy)},
	{rowRespond, true, func(ctx context.Context, t *tools, dir string) ([]*server, error) {
		return one(t.caddy(ctx, dir, "bench/peers/respond.Caddyfile", false))
	}},
	{rowNetHTTP, true, func(ctx context.Context, t *tools, dir string) ([]*server, error) {
		return one(t.program(ctx, dir, "nethttp", false))
	}},
}

// pollers is the number of clients that poll at the same time.
const pollers = 50

// measurePolling measures the CPU time of round trips, a GET and a POST each, and then the memory
// of idle sessions.
func (b *bench) measurePolling(ctx context.Context, p polled, dir string, say sayer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	servers, err := p.start(ctx, b.tools, dir)
	defer func() { stopAll(servers, err, say) }()
	if err != nil {
		return err
	}
	clients := make([]*poller, pollers)
	for i := range clients {
		if clients[i], err = newPoller(ctx, servers[0].address()); err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
		defer clients[i].close()
		if p.bare {
			continue
		}
		if err := clients[i].open(); err != nil {
			return err
		}
	}
	roundTrip := func(c *poller) error { return c.roundTrip(p.bare) }
	if err := share(clients, b.roundTrips/warmUp, roundTrip); err != nil {
		return fmt.Errorf("warming up: %w", err)
	}
	c, err := account(servers, b.roundTrips, func() (time.Duration, error) {
		return 0, share(clients, b.roundTrips, roundTrip)
	})
	if err != nil {
		return fmt.Errorf("round trips: %w", err)
	}
	b.report.add(colRoundTrip, p.row, c.micros())
	say("round trips: %v", c)
	if p.bare {
		return nil
	}
	return b.measureSessions(ctx, p, servers, clients, say)
}

// measureSessions measures the memory of idle sessions. They have no connection.
func (b *bench) measureSessions(ctx context.Context, p polled, servers []*server, clients []*poller, say sayer) error {
	_, before, err := readAllRSS(servers)
	if err != nil {
		return err
	}
	if err := share(clients, b.sessions, (*poller).open); err != nil {
		return err
	}
	if err := sleep(ctx, min(pollingSettle, b.settle)); err != nil {
		return err
	}
	_, after, err := readAllRSS(servers)
	if err != nil {
		return err
	}
	kib := float64(after-before) / 1024 / float64(b.sessions)
	b.report.add(colSession, p.row, kib)
	say("%d idle sessions: %.2f KiB each", b.sessions, kib)
	return nil
}

// share has the pollers do something n times in all, at the same time.
func share(clients []*poller, n int, do func(*poller) error) error {
	var taken atomic.Int64
	var all sync.WaitGroup
	failures := make(chan error, len(clients))
	for _, c := range clients {
		all.Go(func() {
			for int(taken.Add(1)) <= n {
				if err := do(c); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failures)
	return <-failures
}
