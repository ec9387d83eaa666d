package natsbroker

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// scoutPause is the time between two questions to a server that does not know of a subscription.
	scoutPause = 2 * time.Millisecond

	// scoutRetry is how long a server that cannot be reached is left alone.
	scoutRetry = time.Minute
)

// Scouts are connections to the other servers of a NATS cluster. A server confirms a subscription
// before the others know of it. So a connection subscribes to a subject of its own after that, and
// scouts publish to it through each other server until something comes: what a server tells the
// others stays in order.
type scouts struct {
	conns   map[string]*nats.Conn // by the servers' URLs
	refused map[string]time.Time  // when a server could not be reached
	asked   int                   // how many subjects there were
	heard   chan string           // URLs of servers through which something came
}

func newScouts() *scouts {
	return &scouts{conns: make(map[string]*nats.Conn), refused: make(map[string]time.Time), heard: make(chan string, maxWaiting)}
}

// awaitInterest returns when the other servers know of all subscriptions. A server that cannot be
// reached, or is cut off from the others, is not waited for: nothing comes from there anyway.
func (c *conn) awaitInterest(ctx context.Context) error {
	if c.nats.ConnectedClusterName() == "" {
		return nil
	}
	s := c.scouts
	pending := c.reachScouts(ctx)
	if len(pending) == 0 {
		return ctx.Err()
	}
	s.asked++
	subject := c.probe + "." + strconv.Itoa(s.asked)
	sub, err := c.nats.ChanSubscribe(subject, c.messages)
	if err != nil {
		return err
	}
	if err := c.flush(ctx); err != nil {
		return err
	}
	limit := time.After(answerTimeout)
	for len(pending) > 0 {
		for url, scout := range pending {
			if scout.Publish(subject, []byte(url)) != nil || scout.FlushTimeout(answerTimeout) != nil {
				delete(pending, url)
			}
		}
		pause := time.After(scoutPause)
		for paused := false; !paused && len(pending) > 0; {
			select {
			case url := <-s.heard:
				delete(pending, url) // it may be late, and of an earlier subject: no harm is done
			case <-pause:
				paused = true
			case <-limit:
				return sub.Unsubscribe()
			case <-ctx.Done():
				return errors.Join(ctx.Err(), sub.Unsubscribe())
			}
		}
	}
	return sub.Unsubscribe()
}

// reachScouts returns connections to the other servers, by their URLs.
func (c *conn) reachScouts(ctx context.Context) map[string]*nats.Conn {
	reached := make(map[string]*nats.Conn)
	for _, url := range c.nats.Servers() {
		scout := c.scouts.conns[url]
		if scout != nil && scout.IsClosed() {
			delete(c.scouts.conns, url)
			scout = nil
		}
		if scout == nil && time.Since(c.scouts.refused[url]) > scoutRetry {
			scout = c.reachScout(ctx, url)
		}
		if scout != nil && scout.ConnectedServerId() != c.nats.ConnectedServerId() {
			reached[url] = scout
		}
	}
	return reached
}

func (c *conn) reachScout(ctx context.Context, url string) *nats.Conn {
	own := []nats.Option{nats.SetCustomDialer(contextDialer{ctx, c.sockets}), nats.IgnoreDiscoveredServers()}
	scout, err := nats.Connect(url, slices.Concat(c.options, own)...)
	if err != nil {
		c.scouts.refused[url] = time.Now()
		return nil
	}
	c.scouts.conns[url] = scout
	return scout
}

// receiveScout takes a message that a scout has published, and reports whether it is one.
func (c *conn) receiveScout(m *nats.Msg) bool {
	if !strings.HasPrefix(m.Subject, c.probe+".") {
		return false
	}
	select {
	case c.scouts.heard <- string(m.Data):
	default: // nobody waits for it any more
	}
	return true
}
