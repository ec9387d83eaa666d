package cluster_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// A relay stands for a messaging system. It is a TCP server that sends each line it receives to all
// of its clients, the sender included.
type relay struct {
	listener net.Listener
	mu       sync.Mutex
	conns    map[net.Conn]bool
	running  sync.WaitGroup
}

func startRelay() (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: listener, conns: make(map[net.Conn]bool)}
	r.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.running.Go(func() { r.serve(conn) })
		}
	})
	return r, nil
}

func (r *relay) serve(conn net.Conn) {
	r.mu.Lock()
	r.conns[conn] = true
	fmt.Fprintln(conn) // an empty line says that the client gets everything from now on
	r.mu.Unlock()
	for lines := bufio.NewReader(conn); ; {
		line, err := lines.ReadBytes('\n')
		r.mu.Lock()
		if err != nil {
			delete(r.conns, conn)
			_ = conn.Close()
			r.mu.Unlock()
			return
		}
		for conn := range r.conns {
			_, _ = conn.Write(line)
		}
		r.mu.Unlock()
	}
}

func (r *relay) close() {
	_ = r.listener.Close()
	r.running.Wait()
}

// A relayBroker is a cluster.Broker over a relay. One that is to be relied on also connects again
// when its connection is lost, and then gives each subscription a gap.
type relayBroker struct {
	conn     net.Conn
	outgoing chan []byte   // lines
	closed   chan struct{} // closed by Close
	end      sync.Once
	running  sync.WaitGroup // the goroutines that read and write

	mu            sync.Mutex
	subscriptions map[*subscription]bool
}

func dialRelay(address string) (*relayBroker, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewReader(conn)
	if _, err := lines.ReadBytes('\n'); err != nil { // what is published from now on arrives
		return nil, err
	}
	b := &relayBroker{
		conn:          conn,
		outgoing:      make(chan []byte, 64),
		closed:        make(chan struct{}),
		subscriptions: make(map[*subscription]bool),
	}
	b.running.Go(func() { b.read(lines) })
	b.running.Go(b.write)
	return b, nil
}

// Publish implements cluster.Broker. A channel keeps the order, and does not wait for subscribers.
func (b *relayBroker) Publish(ctx context.Context, e cluster.Envelope) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-b.closed:
		return cluster.ErrClosed
	default:
	}
	// Topics and nodes may be any bytes, so they are encoded as []byte: JSON would change a string.
	line, err := json.Marshal(message{Node: []byte(e.Node), Topic: []byte(e.Topic), Payload: e.Payload})
	if err != nil {
		return fmt.Errorf("encoding envelope: %w", err)
	}
	select {
	case b.outgoing <- append(line, '\n'):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-b.closed:
		return cluster.ErrClosed
	}
}

type message struct{ Node, Topic, Payload []byte }

func (b *relayBroker) write() {
	for {
		select {
		case line := <-b.outgoing:
			if _, err := b.conn.Write(line); err != nil {
				return
			}
		case <-b.closed:
			return
		}
	}
}

// read never waits for a subscriber: each has a queue.
func (b *relayBroker) read(lines *bufio.Reader) {
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(bytes.TrimSpace(line), &m) != nil {
			continue
		}
		e := cluster.Envelope{Node: string(m.Node), Topic: string(m.Topic), Payload: m.Payload}
		b.mu.Lock()
		for s := range b.subscriptions {
			if s.topic == e.Topic {
				s.enqueue(e)
			}
		}
		b.mu.Unlock()
	}
}

// Subscribe implements cluster.Broker.
func (b *relayBroker) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.closed:
		return nil, cluster.ErrClosed
	default:
	}
	s := &subscription{broker: b, topic: topic, queue: make(chan cluster.Envelope, 2000), closed: make(chan struct{})}
	b.subscriptions[s] = true
	s.running.Go(func() { s.run(receive) })
	return s, nil
}

// Close implements cluster.Broker. It ends the subscriptions and waits for all goroutines.
func (b *relayBroker) Close() error {
	b.end.Do(func() {
		b.mu.Lock()
		close(b.closed)
		open := make([]*subscription, 0, len(b.subscriptions))
		for s := range b.subscriptions {
			open = append(open, s)
		}
		b.mu.Unlock()
		for _, s := range open {
			_ = s.Close()
		}
		_ = b.conn.Close()
	})
	b.running.Wait()
	return nil
}

// A subscription is a bounded queue and the goroutine that calls receive.
type subscription struct {
	broker  *relayBroker
	topic   string
	queue   chan cluster.Envelope
	gap     bool // the last envelope in the queue is a gap; guarded by the broker
	closed  chan struct{}
	end     sync.Once
	running sync.WaitGroup
}

// enqueue adds an envelope. If the queue is full, a gap takes its place: the queue's last place is
// kept for it.
func (s *subscription) enqueue(e cluster.Envelope) {
	if len(s.queue) < cap(s.queue)-1 {
		s.gap = false
		s.queue <- e
	} else if !s.gap {
		s.gap = true
		s.queue <- cluster.Envelope{Topic: s.topic, Gap: true}
	}
}

func (s *subscription) run(receive func(cluster.Envelope)) {
	for {
		select {
		case <-s.closed:
			return
		case e := <-s.queue:
			select {
			case <-s.closed: // both were ready
				return
			default:
				receive(e)
			}
		}
	}
}

// Close implements cluster.Subscription. It waits for the receive in progress.
func (s *subscription) Close() error {
	s.end.Do(func() { close(s.closed) })
	s.running.Wait()
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	delete(s.broker.subscriptions, s)
	return nil
}

// A broker of a third party: two nodes that are connected by a messaging system of their own. Its
// test is one line, clustertest.Run(t, open).
func Example() {
	r, err := startRelay()
	if err != nil {
		panic(err)
	}
	defer r.close()
	here, err := dialRelay(r.listener.Addr().String())
	if err != nil {
		panic(err)
	}
	defer here.Close()
	there, err := dialRelay(r.listener.Addr().String())
	if err != nil {
		panic(err)
	}
	defer there.Close()

	received := make(chan cluster.Envelope)
	ctx := context.Background()
	if _, err := there.Subscribe(ctx, "news", func(e cluster.Envelope) { received <- e }); err != nil {
		panic(err)
	}
	if err := here.Publish(ctx, cluster.Envelope{Node: "here", Topic: "news", Payload: []byte("hello")}); err != nil {
		panic(err)
	}
	e := <-received
	fmt.Printf("%s says %s\n", e.Node, e.Payload)

	// Output: here says hello
}

// Interface guard
var _ cluster.Broker = (*relayBroker)(nil)
