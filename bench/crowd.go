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
	// connecting bounds the handshakes in flight.
	connecting = 64
	// pollTimeout, in milliseconds, is how long closing an idle crowd may take.
	pollTimeout = 100
	// coalescing is how long the clients let packets gather before they read, as a network card does. Clients on other
	// machines would be woken there; without the pause these are woken for every single packet, and on loopback it is
	// the server's CPU time that pays for that: up to a third of the whole, noisily.
	coalescing = 300 * time.Microsecond
)

// crowd is many clients of one server, all read by one goroutine with epoll: a goroutine for each would cost as much
// as the servers under measure.
type crowd struct {
	clients []*client
	failed  chan error // the first failure of a client, if any; whoever waits for packets must watch it too

	joining sync.Mutex // guards clients while they are dialed
	epoll   int
	closing atomic.Bool
	reader  sync.WaitGroup
}

// gather connects n clients. The crowd ends with its first failure or with close, which the caller must call.
func gather(ctx context.Context, address string, n int) (*crowd, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating epoll: %w", err)
	}
	c := &crowd{clients: make([]*client, n), failed: make(chan error, 1), epoll: epoll}
	c.reader.Go(c.read)

	dialing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var dialers sync.WaitGroup
	var taken atomic.Int64
	for range min(n, connecting) {
		dialers.Go(func() {
			for i := int(taken.Add(1)) - 1; i < n; i = int(taken.Add(1)) - 1 {
				if err := c.join(dialing, address, i); err != nil {
					cancel(fmt.Errorf("connecting client %d of %d: %w", i+1, n, err))
					return
				}
			}
		})
	}
	dialers.Wait()
	if err := context.Cause(dialing); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// join dials client i. It is read from then on: while the others are dialed, heartbeats may come.
func (c *crowd) join(ctx context.Context, address string, i int) error {
	client, err := dial(ctx, address)
	if err != nil {
		return err
	}
	c.joining.Lock()
	c.clients[i] = client
	c.joining.Unlock()
	// The event's data is the client's index, not its descriptor.
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)}
	return syscall.EpollCtl(c.epoll, syscall.EPOLL_CTL_ADD, client.fd, &event)
}

// read serves the clients until the crowd closes or one of them fails.
func (c *crowd) read() {
	events := make([]syscall.EpollEvent, 1024)
	ready := make([]*client, 0, len(events))
	buf := make([]byte, 64<<10)
	pause := syscall.NsecToTimespec(coalescing.Nanoseconds())
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
		// Not time.Sleep, which rounds this up to a millisecond. An early return does no harm.
		_ = syscall.Nanosleep(&pause, nil)
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

// await waits until done is closed or has a value; a client's failure or the end of ctx ends the wait with an error.
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

// close ends all connections.
func (c *crowd) close() {
	c.closing.Store(true)
	c.reader.Wait()
	for _, client := range c.clients {
		if client != nil {
			client.close()
		}
	}
	syscall.Close(c.epoll)
}

// countdown tells when a number of clients have had what they wait for.
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
