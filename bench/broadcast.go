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

// broadcasts is a run of broadcasts over connected clients. The sender is a member, too, if the
// protocol wants that. Each member must get each broadcast once, in order and unchanged.
type broadcasts struct {
	crowd   *crowd
	sender  *client
	members []*client
	length  int // bytes of a text
}

// enter puts clients into the room.
func (c *crowd) enter(ctx context.Context, clients []*client) error {
	joined := newCountdown(len(clients))
	for _, client := range clients {
		client.handle(func(packet []byte) error {
			if !bytes.HasPrefix(packet, []byte(client.join.expect)) {
				return fmt.Errorf("joining: got %q", packet)
			}
			client.handle(nil)
			joined.done()
			return nil
		})
		if err := client.send([]byte(client.join.send)); err != nil {
			return fmt.Errorf("joining: %w", err)
		}
	}
	if err := c.await(ctx, joined.zero); err != nil {
		return fmt.Errorf("joining: %w", err)
	}
	return nil
}

// packets returns what the sender sends and what each member gets. The texts are numbered.
func (b *broadcasts) packets(count int) (sent, delivered [][]byte) {
	sent, delivered = make([][]byte, count), make([][]byte, count)
	for i := range count {
		number := fmt.Sprintf("%08d", i)
		sent[i], delivered[i] = b.sender.event(number + strings.Repeat("x", b.length-len(number)))
	}
	return sent, delivered
}

// expect has every member expect the packets, and calls got for each with its number, by the
// crowd's goroutine. The channel is closed when all members have all packets.
func (b *broadcasts) expect(packets [][]byte, got func(i int)) (all <-chan struct{}) {
	finished := newCountdown(len(b.members))
	for _, c := range b.members {
		next := 0
		c.handle(func(packet []byte) error {
			if next == len(packets) || !bytes.Equal(packet, packets[next]) {
				return fmt.Errorf("after %d of %d broadcasts: got %q", next, len(packets), packet)
			}
			got(next)
			next++
			if next == len(packets) {
				c.handle(nil) // another packet is an error
				finished.done()
			}
			return nil
		})
	}
	b.sender.handle(nil)
	if published := b.sender.published; published != "" {
		b.sender.handle(func(packet []byte) error {
			if !bytes.HasPrefix(packet, []byte(published)) {
				return fmt.Errorf("sending: got %q", packet)
			}
			return nil
		})
	}
	return finished.zero
}

// inTurn sends count broadcasts and returns when every member has got all of them. It keeps
// window of them in flight: the next one leaves when every member has got the one that is window
// before it. So queues do not grow, however slow the server is. slowest is the longest time until
// all members had one.
func (b *broadcasts) inTurn(ctx context.Context, count, window int) (slowest time.Duration, err error) {
	packets, delivered := b.packets(count)
	missing := make([]atomic.Int64, count) // members without the packet, by packet
	for i := range missing {
		missing[i].Store(int64(len(b.members)))
	}
	sent := make([]time.Time, count)
	complete := make(chan struct{}, count)
	all := b.expect(delivered, func(i int) {
		if missing[i].Add(-1) == 0 {
			slowest = max(slowest, time.Since(sent[i]))
			complete <- struct{}{}
		}
	})
	for i, packet := range packets {
		if i >= window {
			if err := b.crowd.await(ctx, complete); err != nil {
				return 0, fmt.Errorf("%d of %d broadcasts sent: %w", i, count, err)
			}
		}
		sent[i] = time.Now()
		if err := b.sender.send(packet); err != nil {
			return 0, fmt.Errorf("sending: %w", err)
		}
	}
	// Every member gets the packets in order, so the last packet is complete last.
	err = b.crowd.await(ctx, all)
	return slowest, err
}

// atRate sends count broadcasts, rate a second, whatever the server does. It returns the time of
// each delivery to each member, counted from when the broadcast was due.
func (b *broadcasts) atRate(ctx context.Context, count, rate int) ([]time.Duration, error) {
	packets, delivered := b.packets(count)
	times := make([]time.Duration, 0, count*len(b.members))
	clock := newSchedule(rate)
	all := b.expect(delivered, func(i int) { times = append(times, time.Since(clock.due(i))) })
	for i, packet := range packets {
		clock.wait(i)
		if err := b.sender.send(packet); err != nil {
			return nil, fmt.Errorf("sending: %w", err)
		}
	}
	err := b.crowd.await(ctx, all)
	return times, err
}
