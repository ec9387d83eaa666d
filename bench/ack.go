//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"
)

// textLength is the length of texts, in bytes, where nothing else is said.
const textLength = 64

// calls is a run of acked events by clients that are in no room. Each client's acks must come in
// order.
type calls struct {
	crowd   *crowd
	clients []*client
}

// inTurn has every client emit count events, of which it keeps window in flight. It returns the
// longest time to an ack.
func (a *calls) inTurn(ctx context.Context, count, window int) (slowest time.Duration, err error) {
	text := strings.Repeat("x", textLength)
	finished := newCountdown(len(a.clients))
	for _, c := range a.clients {
		sent, answered := 0, 0
		var packet, want []byte
		sentAt := make([]time.Time, window)
		emit := func() error {
			packet = c.appendCall(packet[:0], sent, text)
			sentAt[sent%window] = time.Now()
			sent++
			return c.send(packet)
		}
		started := make(chan struct{})
		c.handle(func(got []byte) error {
			<-started // until then another goroutine uses sent and packet
			want = c.appendAnswer(want[:0], answered)
			if !bytes.Equal(got, want) {
				return fmt.Errorf("got %q, want ack %s", got, want)
			}
			slowest = max(slowest, time.Since(sentAt[answered%window]))
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
		for range min(window, count) {
			if err := emit(); err != nil {
				close(started)
				return 0, fmt.Errorf("sending: %w", err)
			}
		}
		close(started)
	}
	err = a.crowd.await(ctx, finished.zero)
	return slowest, err
}

// atRate has the clients emit count events in all, in turn, rate a second, whatever the server
// does. It returns the time to each ack, counted from when the event was due.
func (a *calls) atRate(ctx context.Context, count, rate int) ([]time.Duration, error) {
	count -= count % len(a.clients)
	each := count / len(a.clients)
	text := strings.Repeat("x", textLength)
	times := make([]time.Duration, 0, count)
	finished := newCountdown(len(a.clients))
	clock := newSchedule(rate)
	for i, c := range a.clients {
		answered := 0
		var want []byte
		c.handle(func(got []byte) error {
			want = c.appendAnswer(want[:0], answered)
			if !bytes.Equal(got, want) {
				return fmt.Errorf("got %q, want ack %s", got, want)
			}
			times = append(times, time.Since(clock.due(answered*len(a.clients)+i)))
			if answered++; answered == each {
				c.handle(nil)
				finished.done()
			}
			return nil
		})
	}
	var packet []byte
	for i := range count {
		clock.wait(i)
		c := a.clients[i%len(a.clients)]
		packet = c.appendCall(packet[:0], i/len(a.clients), text)
		if err := c.send(packet); err != nil {
			return nil, fmt.Errorf("sending: %w", err)
		}
	}
	err := a.crowd.await(ctx, finished.zero)
	return times, err
}
