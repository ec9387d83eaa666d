package netbroker

import (
	"context"
	"errors"
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

var errDown = errors.New("the system is down")

// A system is a messaging system in memory, which can fail.
type system struct {
	mu         sync.Mutex
	down       bool
	starving   bool // it delivers nothing, and says nothing
	maxFrame   int
	lose       func(to *fakeConn, f Frame) bool // reports whether a frame is not delivered
	unanswered int                              // how many calls of Publish deliver, and then lose the connection
	conns      map[*fakeConn]struct{}           // open ones
	dials      int
	subscribed []string // topics, in the order of the calls; those unsubscribed begin with "-"
}

func newSystem() *system { return &system{conns: make(map[*fakeConn]struct{})} }

// dial implements Dialer.
func (s *system) dial(_ context.Context, h Handler) (Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials++
	if s.down {
		return nil, errDown
	}
	c := &fakeConn{system: s, handler: h, topics: make(map[string]struct{})}
	s.conns[c] = struct{}{}
	return c, nil
}

// brokers returns n brokers that are connected by the system.
func (s *system) brokers(o Options, n int) []cluster.Broker {
	var brokers []cluster.Broker
	for range n {
		brokers = append(brokers, New(s.dial, o))
	}
	return brokers
}

// stop cuts all connections, and refuses new ones.
func (s *system) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
	for c := range s.conns {
		c.handler.Lost(errDown)
	}
	clear(s.conns)
}

// start ends stop.
func (s *system) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = false
}

// set changes the system by act.
func (s *system) set(act func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	act()
}

// dialed returns how often the system was dialed.
func (s *system) dialed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}

// A fakeConn is a connection to a system.
type fakeConn struct {
	system  *system
	handler Handler
	topics  map[string]struct{}
}

func (c *fakeConn) err() error {
	if _, ok := c.system.conns[c]; !ok {
		return errDown
	}
	return nil
}

func (c *fakeConn) Publish(_ context.Context, frames []Frame) error {
	s := c.system
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.err(); err != nil {
		return err
	}
	for _, f := range frames {
		for to := range s.conns {
			_, ok := to.topics[f.Topic]
			if ok && !s.starving && (s.lose == nil || !s.lose(to, f)) {
				to.handler.Receive(f.Topic, append([]byte(nil), f.Bytes...))
			}
		}
	}
	if s.unanswered > 0 {
		s.unanswered--
		delete(s.conns, c)
		return errDown
	}
	return nil
}

func (c *fakeConn) Subscribe(_ context.Context, topics []string) error {
	c.system.mu.Lock()
	defer c.system.mu.Unlock()
	for _, topic := range topics {
		c.topics[topic] = struct{}{}
		c.system.subscribed = append(c.system.subscribed, topic)
	}
	return c.err()
}

func (c *fakeConn) Unsubscribe(_ context.Context, topics []string) error {
	c.system.mu.Lock()
	defer c.system.mu.Unlock()
	for _, topic := range topics {
		delete(c.topics, topic)
		c.system.subscribed = append(c.system.subscribed, "-"+topic)
	}
	return c.err()
}

func (c *fakeConn) Probe(ctx context.Context) error {
	c.system.mu.Lock()
	err, starving := c.err(), c.system.starving
	c.system.mu.Unlock()
	if starving {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (c *fakeConn) MaxFrame() int { return c.system.maxFrame }

func (c *fakeConn) Close() {
	c.system.mu.Lock()
	defer c.system.mu.Unlock()
	delete(c.system.conns, c)
}
