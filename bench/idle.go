//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// warmUpConnections come and go before the first reading. What a server allocates once
// is then part of it.
const warmUpConnections = 50

// idleCase is one reading of memory with idle connections, with servers of its own.
type idleCase struct {
	peer        peer
	secure      bool
	connections int
	column      string // of the report
}

// idleCases returns what is read in a round.
func (b *bench) idleCases() []idleCase {
	var cases []idleCase
	for _, p := range b.chosenPeers {
		if b.chosen(groupMemory) {
			cases = append(cases, idleCase{p, false, b.connections, colIdle})
			if p.secure {
				cases = append(cases, idleCase{p, true, b.connections, colIdleTLS})
			}
		}
		if b.chosen(groupGrowth) && p.grows {
			cases = append(cases, idleCase{p, false, b.few, colFew}, idleCase{p, false, b.many, colMany})
		}
	}
	return cases
}

// measureIdle reads the memory of all peers with idle connections. They idle at the same time,
// since waiting takes nearly all of it. As memory, unlike CPU time, does not depend on what the
// machine does meanwhile, that does no harm.
func (b *bench) measureIdle(ctx context.Context) {
	var all sync.WaitGroup
	connecting := make(chan struct{}, 3) // crowds at the same time
	for _, c := range b.idleCases() {
		all.Go(func() {
			b.try(ctx, c.peer.name, c.column, func(ctx context.Context, dir string, say sayer) error {
				return b.measureIdleCase(ctx, c, dir, connecting, say)
			})
		})
	}
	all.Wait()
}

// measureIdleCase reads each server's memory before and with idle connections to the first server.
// The second reading is b.settle after the last connection. It does not force a garbage
// collection: garbage that the handshakes have left counts, as it does for an operator.
// Memory that the kernel holds for sockets does not count.
func (b *bench) measureIdleCase(ctx context.Context, c idleCase, dir string, connecting chan struct{}, say sayer) (err error) {
	servers, err := c.peer.start(ctx, b.tools, dir, c.secure)
	defer func() { stopAll(servers, err, say) }()
	if err != nil {
		return err
	}
	to := c.peer.to(servers, c.secure)
	warm, err := connectCrowd(ctx, to, warmUpConnections, oneByOne)
	if err != nil {
		return fmt.Errorf("warming up: %w", err)
	}
	warm.close()
	if err := sleep(ctx, b.settle/3); err != nil {
		return err
	}
	eachBefore, before, err := readAllRSS(servers)
	if err != nil {
		return err
	}

	connecting <- struct{}{}
	h, err := startHolder(ctx, to, c.connections)
	<-connecting
	if err != nil {
		return err
	}
	err = sleep(ctx, b.settle)
	eachAfter, after, readErr := readAllRSS(servers)
	if err := errors.Join(err, readErr, h.close()); err != nil {
		return fmt.Errorf("idling: %w", err)
	}

	perConnection := func(before, after int64) float64 {
		return float64(after-before) / 1024 / float64(c.connections)
	}
	b.report.add(c.column, c.peer.name, perConnection(before, after))
	say("%d connections: %.2f KiB each (RSS %.1f → %.1f MiB)", c.connections, perConnection(before, after),
		float64(before)/(1<<20), float64(after)/(1<<20))
	if c.column == colIdle {
		b.report.add(colTotal, c.peer.name, float64(after)/(1<<20))
	}
	if len(servers) > 1 {
		say("of it Caddy: %.2f KiB", perConnection(eachBefore[0], eachAfter[0]))
		b.report.add(c.column, rowProxyAlone, perConnection(eachBefore[0], eachAfter[0]))
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
