//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

const (
	broadcastTimeout = 5 * time.Minute
	// warmUpBroadcasts run before the counted ones, for Node's compiler and the pools of
	// the servers.
	warmUpBroadcasts = 100
	payloadLength    = 64
)

// measureBroadcast measures the server's CPU time for broadcasts to o.members clients
// of the crowd, with at least o.deliveries deliveries in all. One more member sends
// them. It keeps o.window of them in flight: the next one leaves when every member has
// got the one that is o.window before it. So queues stay short, however fast the server
// is. Each member must get each broadcast once, in order and unchanged.
func measureBroadcast(ctx context.Context, o options, s *server, crowd *crowd) (cost, error) {
	ctx, cancel := context.WithTimeout(ctx, broadcastTimeout)
	defer cancel()
	sender, members := crowd.clients[0], crowd.clients[1:1+o.members]
	if err := join(ctx, crowd, crowd.clients[:1+o.members]); err != nil {
		return cost{}, err
	}
	if _, err := broadcast(ctx, crowd, sender, members, warmUpBroadcasts, o.window); err != nil {
		return cost{}, fmt.Errorf("warming up: %w", err)
	}
	count := (o.deliveries + o.members - 1) / o.members
	return account(s, count*o.members, func() (time.Duration, error) {
		return broadcast(ctx, crowd, sender, members, count, o.window)
	})
}

// join puts clients into one room.
func join(ctx context.Context, crowd *crowd, clients []*client) error {
	joined := newCountdown(len(clients))
	for _, c := range clients {
		c.handle(func(packet []byte) error {
			if !bytes.HasPrefix(packet, []byte("430[")) {
				return fmt.Errorf("joining: got %q, want an ack", packet)
			}
			c.handle(nil)
			joined.done()
			return nil
		})
		if err := c.send([]byte(`420["join","bench"]`)); err != nil {
			return fmt.Errorf("joining: %w", err)
		}
	}
	if err := crowd.await(ctx, joined.zero); err != nil {
		return fmt.Errorf("joining: %w", err)
	}
	return nil
}

// broadcast sends count broadcasts and returns when every member has got all of them.
// slowest is the longest time until all members had one.
func broadcast(ctx context.Context, crowd *crowd, sender *client, members []*client, count, window int) (slowest time.Duration, err error) {
	packets := make([][]byte, count)
	missing := make([]atomic.Int64, count) // members without the packet, by packet
	for i := range packets {
		number := fmt.Sprintf("%08d", i)
		packets[i] = fmt.Appendf(nil, `42["message","%s%s"]`, number, strings.Repeat("x", payloadLength-len(number)))
		missing[i].Store(int64(len(members)))
	}
	sent := make([]time.Time, count)
	complete := make(chan struct{}, count)
	finished := newCountdown(len(members))
	for _, c := range members {
		next := 0
		c.handle(func(packet []byte) error {
			if next == count || !bytes.Equal(packet, packets[next]) {
				return fmt.Errorf("after %d of %d broadcasts: got %q", next, count, packet)
			}
			last := missing[next].Add(-1) == 0
			if last {
				slowest = max(slowest, time.Since(sent[next]))
			}
			next++
			if next == count {
				c.handle(nil) // another packet is an error
				finished.done()
			}
			if last {
				complete <- struct{}{}
			}
			return nil
		})
	}

	for i, packet := range packets {
		if i >= window {
			if err := crowd.await(ctx, complete); err != nil {
				return 0, fmt.Errorf("%d of %d broadcasts sent: %w", i, count, err)
			}
		}
		sent[i] = time.Now()
		if err := sender.send(packet); err != nil {
			return 0, fmt.Errorf("sending: %w", err)
		}
	}
	// Every member gets the packets in order, so the last packet is complete last.
	err = crowd.await(ctx, finished.zero)
	return slowest, err
}
