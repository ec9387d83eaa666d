package natsbroker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/internal/sockets"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/netbroker"
	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

const (
	// answerTimeout is how long a server may take for the handshake, or for a round trip.
	answerTimeout = 2 * time.Second

	// maxWaiting is how many messages may wait for being sorted to topics, which does not wait for
	// anything. The library drops what is more.
	maxWaiting = 16 << 10

	clientName = "caddy-realtime"
)

// A dialer connects to one of several servers.
type dialer struct {
	servers     []string // URLs without users
	secure      bool
	user        *url.Userinfo // nil for none
	credentials string
	tls         *tls.Config
	prefix      string

	discovered []string // other servers of the cluster, when one was last connected
}

// dial implements [netbroker.Dialer].
func (d *dialer) dial(ctx context.Context, h netbroker.Handler) (netbroker.Conn, error) {
	c := &conn{
		prefix:   d.prefix + ".",
		probe:    d.prefix + "-probe." + randid.New(),
		handler:  h,
		sockets:  new(sockets.Sockets),
		messages: make(chan *nats.Msg, maxWaiting),
		topics:   make(map[string]string),
		subs:     make(map[string]*nats.Subscription),
		probed:   make(chan string, 1),
		closed:   make(chan struct{}),
		options:  d.options(),
		scouts:   newScouts(),
	}
	// The library's own functions know no context.
	stop := context.AfterFunc(ctx, c.sockets.Close)
	defer stop()
	var err error
	servers := strings.Join(slices.Concat(d.servers, d.discovered), ",")
	if c.nats, err = nats.Connect(servers, slices.Concat(c.options, c.handlers(ctx))...); err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	c.sorted.Go(c.sort)
	if err := c.subscribe(ctx, c.probe); err != nil {
		c.Close()
		return nil, fmt.Errorf("subscribing: %w", err)
	}
	d.discovered = c.nats.DiscoveredServers()
	return c, nil
}

// handlers are options of the connection with the subscriptions.
func (c *conn) handlers(ctx context.Context) []nats.Option {
	lost := func(_ *nats.Conn, err error) {
		if err == nil {
			err = nats.ErrConnectionClosed
		}
		if !c.closing.Load() {
			c.handler.Lost(err)
		}
	}
	return []nats.Option{
		nats.SetCustomDialer(contextDialer{ctx, c.sockets}),
		nats.DisconnectErrHandler(lost),
		nats.ClosedHandler(func(conn *nats.Conn) { lost(conn, conn.LastError()) }),
		nats.ErrorHandler(func(conn *nats.Conn, _ *nats.Subscription, err error) {
			// A message that is dropped here is found missing by its number. Anything else, such as a
			// subject that is not permitted, does not get better by waiting.
			if !errors.Is(err, nats.ErrSlowConsumer) {
				lost(conn, err)
			}
		}),
	}
}

// options are those of all connections.
func (d *dialer) options() []nats.Option {
	options := []nats.Option{nats.Name(clientName), nats.NoReconnect(), nats.Timeout(answerTimeout)}
	if d.secure {
		options = append(options, nats.Secure())
	}
	if d.tls != nil {
		options = append(options, func(o *nats.Options) error {
			o.TLSConfig = d.tls.Clone()
			return nil
		})
	}
	if d.credentials != "" {
		options = append(options, nats.UserCredentials(d.credentials))
	}
	if d.user != nil {
		if password, ok := d.user.Password(); ok {
			options = append(options, nats.UserInfo(d.user.Username(), password))
		} else {
			options = append(options, nats.Token(d.user.Username()))
		}
	}
	return options
}

// A contextDialer is a [nats.CustomDialer].
type contextDialer struct {
	ctx     context.Context
	sockets *sockets.Sockets
}

// Dial implements [nats.CustomDialer].
func (d contextDialer) Dial(_, address string) (net.Conn, error) {
	return d.sockets.Dial(d.ctx, address)
}

// A conn is a [netbroker.Conn].
type conn struct {
	prefix  string // of subjects
	handler netbroker.Handler
	nats    *nats.Conn
	sockets *sockets.Sockets
	options []nats.Option // of other connections
	scouts  *scouts

	messages chan *nats.Msg // of all subscriptions
	closing  atomic.Bool
	closed   chan struct{}
	sorted   sync.WaitGroup // the goroutine of sort

	probe  string // the subject of probes
	probes int
	probed chan string // the last probe that came back

	mu     sync.Mutex
	topics map[string]string // by subject
	subs   map[string]*nats.Subscription
}

func (c *conn) subject(topic string) string {
	return string(appendSubject(append(make([]byte, 0, len(c.prefix)+2*len(topic)), c.prefix...), topic))
}

// sort gives messages to their topics.
func (c *conn) sort() {
	for {
		select {
		case m := <-c.messages:
			c.receive(m)
		case <-c.closed:
			return
		}
	}
}

func (c *conn) receive(m *nats.Msg) {
	if m.Subject == c.probe {
		select {
		case c.probed <- string(m.Data):
		default: // nobody waits for it any more
		}
		return
	}
	if c.receiveScout(m) {
		return
	}
	c.mu.Lock()
	topic, ok := c.topics[m.Subject]
	c.mu.Unlock()
	if ok {
		c.handler.Receive(topic, m.Data)
	}
}

// Publish implements [netbroker.Conn].
func (c *conn) Publish(ctx context.Context, frames []netbroker.Frame) error {
	for _, f := range frames {
		// A frame that is too large was accepted for another server. It is found missing by its number.
		if err := c.nats.Publish(c.subject(f.Topic), f.Bytes); err != nil && !errors.Is(err, nats.ErrMaxPayload) {
			return err
		}
	}
	return c.flush(ctx)
}

// flush returns when the server has taken everything that was sent before.
func (c *conn) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return c.nats.FlushWithContext(ctx)
}

// Subscribe implements [netbroker.Conn].
func (c *conn) Subscribe(ctx context.Context, topics []string) error {
	subjects := make([]string, 0, len(topics))
	c.mu.Lock()
	for _, topic := range topics {
		subject := c.subject(topic)
		c.topics[subject] = topic
		subjects = append(subjects, subject)
	}
	c.mu.Unlock()
	if err := c.subscribe(ctx, subjects...); err != nil {
		return err
	}
	return c.awaitInterest(ctx)
}

func (c *conn) subscribe(ctx context.Context, subjects ...string) error {
	for _, subject := range subjects {
		sub, err := c.nats.ChanSubscribe(subject, c.messages)
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.subs[subject] = sub
		c.mu.Unlock()
	}
	if err := c.flush(ctx); err != nil {
		return err
	}
	// The server confirms, too, what it has refused before. The library has heard of that by now.
	if err := c.nats.LastError(); err != nil && !errors.Is(err, nats.ErrSlowConsumer) {
		return err
	}
	return nil
}

// Unsubscribe implements [netbroker.Conn]. The server handles it before a later Subscribe.
func (c *conn) Unsubscribe(_ context.Context, topics []string) error {
	for _, topic := range topics {
		subject := c.subject(topic)
		c.mu.Lock()
		sub := c.subs[subject]
		delete(c.subs, subject)
		delete(c.topics, subject)
		c.mu.Unlock()
		if err := sub.Unsubscribe(); err != nil {
			return err
		}
	}
	return nil
}

// Probe implements [netbroker.Conn].
func (c *conn) Probe(ctx context.Context) error {
	c.probes++
	want := strconv.Itoa(c.probes)
	if err := c.nats.Publish(c.probe, []byte(want)); err != nil {
		return err
	}
	for {
		select {
		case got := <-c.probed:
			if got == want {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// MaxFrame implements [netbroker.Conn].
func (c *conn) MaxFrame() int { return int(c.nats.MaxPayload()) }

// Close implements [netbroker.Conn].
func (c *conn) Close() {
	c.closing.Store(true)
	// Otherwise, a server that does not answer would delay it.
	c.sockets.Close()
	c.nats.Close()
	for _, scout := range c.scouts.conns {
		scout.Close()
	}
	close(c.closed)
	c.sorted.Wait()
}
