package redisadapter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/redisbroker"
)

const (
	// dialTimeout is how long it may take to connect and to subscribe.
	dialTimeout = 5 * time.Second

	// A connection is probed every probeInterval. If nothing has come back after probeTimeout, it is
	// lost.
	probeInterval = time.Second
	probeTimeout  = 2 * time.Second

	// The pause before the next attempt to connect doubles from minPause up to maxPause. Each is
	// between half of this and the whole.
	minPause = 100 * time.Millisecond
	maxPause = time.Second

	// leaveTimeout is how long Close answers what has come, and sends what is queued.
	leaveTimeout = 3 * time.Second

	// askTime is how long after it has counted the others a server asks them.
	askTime = 200 * time.Millisecond

	// maxBatch is how many messages are published at once.
	maxBatch = 256
)

// errLeft means that Close has been called.
var errLeft = errors.New("closed")

// link keeps a connection until the adapter is closed.
func (a *Adapter) link() {
	defer a.cancel() // ends handle
	pause := minPause
	for {
		began := time.Now()
		err := a.serve()
		if errors.Is(err, errLeft) {
			return
		}
		if !a.away {
			a.away = true
			a.logger.Error("connection to Socket.IO's servers is lost", zap.Error(err))
		}
		if time.Since(began) > maxPause+dialTimeout {
			pause = minPause
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-a.leave:
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// serve connects, and uses the connection until it is lost, or Close is called. It returns why.
func (a *Adapter) serve() error {
	ctx, lose := context.WithCancelCause(a.ctx)
	defer lose(nil)
	conn, err := a.connect(ctx, lose)
	if err != nil {
		return err
	}
	defer conn.Close()
	if a.away {
		a.away = false
		a.logger.Info("connection to Socket.IO's servers is back")
	}
	a.use(conn)
	defer a.use(nil)

	var writer sync.WaitGroup
	defer writer.Wait()
	defer lose(nil)
	writer.Go(func() { lose(a.write(ctx, conn)) })

	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			a.in.lose() // what is published from now on
			return context.Cause(ctx)
		case <-a.leave:
			a.depart(ctx, conn)
			return errLeft
		case <-ticker.C:
			if err := probe(ctx, conn); err != nil {
				lose(err)
			}
		}
	}
}

// connect connects, and subscribes the channels of requests last: who is subscribed there is counted,
// and has to answer.
func (a *Adapter) connect(ctx context.Context, lose func(error)) (*redisbroker.Channels, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := a.dialer.Dial(ctx, redisbroker.ChannelHandler{Receive: a.receive, Lost: lose})
	if err != nil {
		return nil, err
	}
	for _, c := range a.channels {
		err = errors.Join(err, conn.SubscribePattern(ctx, c.pattern()), conn.Subscribe(ctx, c.responses, c.responsesTo(a.uid)))
	}
	if err == nil {
		err = conn.Subscribe(ctx, a.requestChannels()...)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("subscribing: %w", err)
	}
	return conn, nil
}

func (a *Adapter) requestChannels() []string {
	names := make([]string, 0, len(a.channels))
	for _, c := range a.channels {
		names = append(names, c.requests)
	}
	return names
}

func probe(ctx context.Context, conn *redisbroker.Channels) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := conn.Probe(ctx); err != nil {
		return fmt.Errorf("probing: %w", err)
	}
	return nil
}

// use makes conn the connection; nil if there is none. Requests that wait for answers fail then.
func (a *Adapter) use(conn *redisbroker.Channels) {
	a.mu.Lock()
	a.conn = conn
	a.mu.Unlock()
	if conn == nil {
		a.requests.fail()
	}
}

// current returns the connection, or nil.
func (a *Adapter) current() *redisbroker.Channels {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.conn
}

// write publishes what is queued, until that fails or ctx is done. It returns why. Receivers would take
// a message twice if it came twice: so what Redis has perhaps taken is not sent again.
func (a *Adapter) write(ctx context.Context, conn *redisbroker.Channels) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.out.ready:
		}
		if ctx.Err() != nil {
			a.out.signal() // for the next connection
			return context.Cause(ctx)
		}
		batch, _ := a.out.take(maxBatch)
		if err := conn.Publish(ctx, batch); err != nil {
			a.out.finish(len(batch))
			a.drop(len(batch), "the connection to Redis was lost")
			return fmt.Errorf("publishing: %w", err)
		}
		a.out.finish(len(batch))
		a.published.Add(uint64(len(batch)))
	}
}

// depart has the others count this node no more, answers what they ask, and sends what is queued.
//
// A server counts, and asks a moment later. If it has counted this node, it waits for the answer. If
// it has not, one answer more would make it miss that of another node. So for a moment all answers are
// held back: then those who have not counted this node are not waiting any more.
func (a *Adapter) depart(ctx context.Context, conn *redisbroker.Channels) {
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	a.in.wait(ctx)
	a.handling.Lock()
	err := conn.Uncount(ctx, a.requestChannels()...)
	if err == nil {
		select {
		case <-time.After(askTime):
		case <-ctx.Done():
		}
	}
	a.handling.Unlock()
	a.in.wait(ctx)
	a.out.wait(ctx)
}
