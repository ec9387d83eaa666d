//go:build linux

package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// connecting is the limit of handshakes in flight.
	connecting = 64
	// pollTimeout, in milliseconds, is how long closing an idle crowd may take.
	pollTimeout = 100
	// gathering is how long packets gather before the clients read, as on a network card.
	// Clients on other machines would be woken by that card. Without the pause these
	// clients are woken for every packet, and on loopback that costs CPU time of the
	// server: up to a third of the whole, with much noise.
	gathering = 300 * time.Microsecond
)

// crowd is many clients of one server. One goroutine reads them all by epoll. A
// goroutine for each would cost as much as the servers that are measured.
type crowd struct {
	clients []*client
	failed  chan error // the first failure of a client; await watches it, too
	// eager turns gathering off, where times matter and CPU time does not.
	eager atomic.Bool

	joining sync.Mutex // guards clients while they are dialed
	epoll   int
	closing atomic.Bool
	reader  sync.WaitGroup
}

// dialing is how a crowd connects.
type dialing struct {
	inFlight int // handshakes
	// retry is the pause before a client that has failed tries again. 0 makes a failure the
	// crowd's.
	retry time.Duration
}

var oneByOne = dialing{inFlight: connecting}

// connectCrowd connects n clients. The crowd ends with its first failure or with close,
// which the caller must call.
func connectCrowd(ctx context.Context, to target, n int, how dialing) (*crowd, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating epoll: %w", err)
	}
	c := &crowd{clients: make([]*client, n), failed: make(chan error, 1), epoll: epoll}
	c.reader.Go(c.read)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var dialers sync.WaitGroup
	var taken atomic.Int64
	for range min(n, how.inFlight) {
		dialers.Go(func() {
			for i := int(taken.Add(1)) - 1; i < n; i = int(taken.Add(1)) - 1 {
				err := c.join(ctx, to, i)
				for err != nil && how.retry > 0 && sleep(ctx, how.retry) == nil {
					err = c.join(ctx, to, i)
				}
				if err != nil {
					cancel(fmt.Errorf("connecting client %d of %d: %w", i+1, n, err))
					return
				}
			}
		})
	}
	dialers.Wait()
	if err := context.Cause(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// join connects client i. The crowd reads it from then on, because heartbeats may come
// while others connect.
func (c *crowd) join(ctx context.Context, to target, i int) error {
	client, err := dial(ctx, to, i)
	if err != nil {
		return err
	}
	c.joining.Lock()
	c.clients[i] = client
	c.joining.Unlock()
	// The event's data is the client's index, not its descriptor.
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)}
	return syscall.EpollCtl(c.epoll, syscall.EPOLL_CTL_ADD, client.wire.fd, &event)
}

// read serves the clients until the crowd closes or one of them fails.
func (c *crowd) read() {
	events := make([]syscall.EpollEvent, 1024)
	ready := make([]*client, 0, len(events))
	buf := make([]byte, 2*maxFrame)
	pause := syscall.NsecToTimespec(gathering.Nanoseconds())
	for !c.closing.Load() {
		n, err := syscall.EpollWait(c.epoll, events, pollTimeout)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			c.failed <- fmt.Errorf("waiting for packets: %w", err)
			return
		}
		if n == 0 {
			continue
		}
		if !c.eager.Load() {
			// time.Sleep would round this up to a millisecond. An early return does no harm.
			_ = syscall.Nanosleep(&pause, nil)
		}
		ready = ready[:0]
		c.joining.Lock()
		for _, event := range events[:n] {
			ready = append(ready, c.clients[event.Fd])
		}
		c.joining.Unlock()
		for _, client := range ready {
			if err := client.read(buf); err != nil {
				c.failed <- fmt.Errorf("a client failed: %w", err)
				return
			}
		}
	}
}

// await waits until done is closed or has a value. It returns an error if a client
// fails or ctx ends.
func (c *crowd) await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case err := <-c.failed:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close ends all connections. A second time has no effect.
func (c *crowd) close() {
	if c.closing.Swap(true) {
		return
	}
	c.reader.Wait()
	for _, client := range c.clients {
		if client != nil {
			client.close()
		}
	}
	_ = syscall.Close(c.epoll)
}

// countdown closes a channel when done was called n times.
type countdown struct {
	left atomic.Int64
	zero chan struct{} // closed by the last done
}

func newCountdown(n int) *countdown {
	c := &countdown{zero: make(chan struct{})}
	c.left.Store(int64(n))
	return c
}

func (c *countdown) done() {
	if c.left.Add(-1) == 0 {
		close(c.zero)
	}
}
