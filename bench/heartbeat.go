//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pingInterval is how long a server of Socket.IO waits from an answer to its next ping.
const pingInterval = 25 * time.Second

// heartbeats is when the pings of many clients come. The goroutine that reads the clients is the
// only one that uses it while they are connected.
type heartbeats struct {
	late  []time.Duration // how late pings came, counted from the client's last answer
	early int             // pings that came too early
}

// observer returns the function that a client calls for each ping. The first one has no answer
// before it, and only begins the count.
func (h *heartbeats) observer() func(now time.Time) {
	var answered time.Time
	return func(now time.Time) {
		if !answered.IsZero() {
			late := now.Sub(answered) - pingInterval
			if late < 0 {
				h.early++
			}
			h.late = append(h.late, late)
		}
		answered = now
	}
}

// measureHeartbeats holds idle connections for b.hold, and says what their heartbeats cost, and
// whether they were on time. It fails if a connection is lost, or a ping comes early or not at all.
func (b *bench) measureHeartbeats(ctx context.Context, p peer, dir string, say sayer) (err error) {
	servers, err := p.start(ctx, b.tools, dir, false)
	defer func() { stopAll(servers, err, say) }()
	if err != nil {
		return err
	}
	crowd, err := connectCrowd(ctx, p.to(servers, false), b.held, oneByOne)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer crowd.close()
	var h heartbeats
	for _, c := range crowd.clients {
		observe := h.observer()
		c.onHeartbeat.Store(&observe)
	}
	c, err := account(servers, b.held, func() (time.Duration, error) { return 0, crowd.hold(ctx, b.hold) })
	if err != nil {
		return fmt.Errorf("idling: %w", err)
	}
	crowd.close() // so that nobody writes to h any more
	percent := 100 * c.server.Seconds() / c.wall.Seconds() * 10_000 / float64(b.held)
	say("%d connections held for %v: %.2f %% of a core for 10,000", b.held, b.hold, percent)
	if len(h.late) == 0 {
		return nil // not held for long enough
	}
	times := newPercentiles(h.late)
	say("%d pings, %d of them early; how late: p50 %v, p99 %v, p99.9 %v, most %v", len(h.late), h.early,
		times.p50, times.p99, times.p999, h.late[len(h.late)-1])
	// A client sees one ping in each interval, and two more at most are not counted.
	if least := b.held * (int(b.hold/(pingInterval+time.Second)) - 2); len(h.late) < least {
		return fmt.Errorf("%d pings, want %d at least", len(h.late), least)
	}
	if h.early > 0 {
		return errors.New("pings came too early")
	}
	return nil
}

// hold waits for so long. It returns an error if a client fails before.
func (c *crowd) hold(ctx context.Context, d time.Duration) error {
	over := make(chan struct{})
	timer := time.AfterFunc(d, func() { close(over) })
	defer timer.Stop()
	return c.await(ctx, over)
}
