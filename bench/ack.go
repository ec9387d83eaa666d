//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	ackTimeout = 5 * time.Minute
	// warmUpAcks is the number of acked events before the counted ones.
	warmUpAcks = 40_000
)

// measureAcks measures the server's CPU time for acked events. The last ackConnections
// clients of the crowd are in no room. Each keeps ackWindow events in flight until
// o.acks events have been acked. Acks must come in order.
func measureAcks(ctx context.Context, o options, s *server, crowd *crowd) (cost, error) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	askers := crowd.clients[len(crowd.clients)-ackConnections:]
	each := (o.acks + ackConnections - 1) / ackConnections
	if _, err := ask(ctx, crowd, askers, warmUpAcks/ackConnections); err != nil {
		return cost{}, fmt.Errorf("warming up: %w", err)
	}
	return account(s, each*ackConnections, func() (time.Duration, error) {
		return ask(ctx, crowd, askers, each)
	})
}

// ask has every client emit count events that want an ack. It returns the longest time
// to an ack.
func ask(ctx context.Context, crowd *crowd, clients []*client, count int) (slowest time.Duration, err error) {
	event := fmt.Appendf(nil, `["message","%s"]`, strings.Repeat("x", payloadLength))
	finished := newCountdown(len(clients))
	for _, c := range clients {
		sent, answered := 0, 0
		var packet, want []byte
		var sentAt [ackWindow]time.Time
		emit := func() error {
			packet = append(fmt.Appendf(packet[:0], "42%d", sent), event...)
			sentAt[sent%ackWindow] = time.Now()
			sent++
			return c.send(packet)
		}
		started := make(chan struct{})
		c.handle(func(got []byte) error {
			<-started // until then another goroutine uses sent and packet
			want = fmt.Appendf(want[:0], "43%d[]", answered)
			if !bytes.Equal(got, want) {
				return fmt.Errorf("got %q, want ack %s", got, want)
			}
			slowest = max(slowest, time.Since(sentAt[answered%ackWindow]))
			if answered++; answered == count {
				c.handle(nil)
				finished.done()
				return nil
			}
			if sent < count {
				return emit()
			}
			return nil
		})
		for range min(ackWindow, count) {
			if err := emit(); err != nil {
				close(started)
				return 0, fmt.Errorf("sending: %w", err)
			}
		}
		close(started)
	}
	err = crowd.await(ctx, finished.zero)
	return slowest, err
}
