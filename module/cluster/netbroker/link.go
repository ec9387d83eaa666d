package netbroker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// dialTimeout is how long one attempt to connect may take.
	dialTimeout = 5 * time.Second

	// subscribeTimeout is how long the confirmation of subscriptions may take. It is for many at once.
	subscribeTimeout = 10 * time.Second

	// A connection is probed every probeInterval. If nothing has come back after probeTimeout, it is
	// lost.
	probeInterval = time.Second
	probeTimeout  = 2 * time.Second

	// The pause before the next attempt doubles from minPause up to maxPause, unless the connection
	// has lived for longer than that. Each pause is between half of this and the whole, so that the
	// nodes do not all come at once.
	minPause = 100 * time.Millisecond
	maxPause = time.Second
)

// errProbe means that a connection looks healthy and does not deliver.
var errProbe = errors.New("what was published did not come back in time")

// link keeps a connection, until the broker closes.
func (b *Broker) link() {
	pause := minPause
	for {
		began := time.Now()
		err := b.serve()
		if b.ctx.Err() != nil {
			return
		}
		b.lose(err)
		if time.Since(began) > maxPause+dialTimeout {
			pause = minPause
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-b.ctx.Done():
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// serve connects, and uses the connection until it is lost. It returns why.
func (b *Broker) serve() error {
	ctx, lose := context.WithCancelCause(b.ctx)
	defer lose(nil)
	conn, err := b.connect(ctx, lose)
	if err != nil {
		return err
	}
	defer conn.Close()

	var writer sync.WaitGroup
	defer writer.Wait()
	defer lose(nil)
	writer.Go(func() { lose(b.publisher.write(ctx, conn)) })

	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-b.wake:
			err = b.update(ctx, conn)
		case <-ticker.C:
			b.publisher.tick()
			err = probe(ctx, conn)
		}
		if err != nil {
			lose(err) // unless it is the consequence of another error
		}
	}
}

// connect dials, and subscribes the topics.
func (b *Broker) connect(ctx context.Context, lose func(error)) (Conn, error) {
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := b.dial(dialing, Handler{Receive: b.receive, Lost: lose})
	if err != nil {
		return nil, firstCause(ctx, err)
	}
	b.mu.Lock()
	for _, t := range b.topics {
		b.change(t)
	}
	b.mu.Unlock()
	if err := b.update(ctx, conn); err != nil {
		conn.Close()
		return nil, firstCause(ctx, err)
	}
	b.succeed(conn)
	return conn, nil
}

// firstCause returns why ctx is done, of which err is a consequence; or err.
func firstCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// update makes the messaging system's subscriptions those of the topics that have changed.
func (b *Broker) update(ctx context.Context, conn Conn) error {
	ctx, cancel := context.WithTimeout(ctx, subscribeTimeout)
	defer cancel()
	added, dropped := b.takeChanged()
	if len(added) > 0 {
		names := make([]string, 0, len(added))
		for _, t := range added {
			names = append(names, t.name)
		}
		if err := conn.Subscribe(ctx, names); err != nil {
			return fmt.Errorf("subscribing: %w", err)
		}
		for _, t := range added {
			t.confirm()
		}
	}
	if len(dropped) > 0 {
		if err := conn.Unsubscribe(ctx, dropped); err != nil {
			return fmt.Errorf("unsubscribing: %w", err)
		}
	}
	return nil
}

// takeChanged returns the topics to subscribe, and the names of those to unsubscribe, which it
// forgets: whoever subscribes meanwhile has to wait for the next update.
func (b *Broker) takeChanged() (added []*topic, dropped []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for t := range b.changed {
		t.mu.Lock()
		wanted, subscribed := len(t.queues) > 0, t.subscribed
		t.mu.Unlock()
		switch {
		case wanted && !subscribed:
			added = append(added, t)
		case !wanted && b.topics[t.name] == t:
			delete(b.topics, t.name)
			if subscribed {
				dropped = append(dropped, t.name)
			}
		}
	}
	clear(b.changed)
	return added, dropped
}

// succeed says that there is a connection.
func (b *Broker) succeed(conn Conn) {
	b.mu.Lock()
	was := b.state
	b.state = connected
	b.mu.Unlock()
	b.publisher.connected(conn.MaxFrame())
	if was == away {
		b.logger.Info("connection to the broker is back")
	}
}

// lose says that there is no connection.
func (b *Broker) lose(why error) {
	b.mu.Lock()
	was := b.state
	b.state = away
	if was == connecting && b.options.Required {
		b.refused = why
	}
	// Under the mutex, since a topic that is added from now on has nothing to wait for.
	for _, t := range b.topics {
		t.lose()
	}
	b.mu.Unlock()
	b.publisher.lost(why)
	if was != away {
		b.logger.Error("connection to the broker is lost: this node and others do not hear of one another", zap.Error(why))
	}
}

// probe looks whether the connection delivers.
func probe(ctx context.Context, conn Conn) error {
	ctx, cancel := context.WithTimeoutCause(ctx, probeTimeout, errProbe)
	defer cancel()
	err := conn.Probe(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
