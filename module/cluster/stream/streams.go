// Package stream carries network connections between the nodes of a hub over their bus. So HTTP, or
// anything else, can be spoken between two nodes that know only a broker in common.
//
// A connection is opened by what is first written to it: to dial sends nothing. What is written
// arrives in order, in pieces that every broker takes. At most [window] bytes wait for a reader, and
// a writer waits for it. If the bus has lost something of a node, all connections with that node are
// broken: see [Streams.Break].
//
// conn.go is one end of a connection, message.go what the ends send one another.
package stream

import (
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
)

const (
	// Kind is the kind of the messages on the bus.
	Kind = "stream"

	// maxAccepted is how many connections of other nodes are open at a time, and maxWaiting how many
	// of them wait for Accept. Others are refused.
	maxAccepted = 1 << 15
	maxWaiting  = 1024
)

var (
	// ErrBroken says that a connection ended because something of it was lost, or its other node.
	ErrBroken = errors.New("connection to another node is broken")

	errRefusedMessage = errors.New("message does not belong to a stream as it is")
)

// Streams are the connections of one node. It is a net.Listener for those that other nodes open. All
// methods may be called concurrently.
type Streams struct {
	node     string
	waiting  chan *Conn // for Accept
	stopped  chan struct{}
	stopOnce sync.Once

	mu       sync.Mutex
	publish  func(node string, body []byte) error
	nodes    func() []string
	conns    map[key]*Conn
	last     uint64 // the number of the last connection that this node has dialed
	accepted int
}

// A key identifies a connection.
type key struct {
	node   string // the other one
	id     uint64
	dialed bool // by this node
}

// New returns the connections of a node. Nothing can be sent before Use.
func New(node string) *Streams {
	return &Streams{
		node:    node,
		waiting: make(chan *Conn, maxWaiting),
		stopped: make(chan struct{}),
		conns:   make(map[key]*Conn),
	}
}

// Use has messages published to other nodes by a function. It must not block, and messages to one
// node must arrive in the order in which it was called. An error means that the message was not sent.
// Nodes returns the names of the other nodes.
func (s *Streams) Use(publish func(node string, body []byte) error, nodes func() []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish, s.nodes = publish, nodes
}

// Dial returns a new connection to a node. It does not wait, and the node hears of it by the first
// write.
func (s *Streams) Dial(node string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() || s.publish == nil {
		return nil, net.ErrClosed
	}
	s.last++
	return s.add(key{node, s.last, true}), nil
}

// add adds a connection. The caller holds the mutex.
func (s *Streams) add(k key) *Conn {
	c := newConn(s, k)
	s.conns[k] = c
	return c
}

// remove removes a connection, if it is still there.
func (s *Streams) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[c.key] != c {
		return
	}
	delete(s.conns, c.key)
	if !c.key.dialed {
		s.accepted--
	}
}

// Len returns how many connections are open.
func (s *Streams) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Receive takes a message of another node. It does not block, and must be called for one message of
// a node after the other. An error says that the message is not valid.
func (s *Streams) Receive(node string, body []byte) error {
	m, err := parse(body)
	if err != nil {
		return err
	}
	if m.kind == kindBroken && m.id == everyConn {
		s.breakOff(node)
		return nil
	}
	c := s.find(node, &m)
	if c == nil {
		return nil
	}
	if err := c.take(&m); err != nil {
		c.breakOff()
		s.sendBroken(c.key)
		return err
	}
	return nil
}

// find returns the connection that a message belongs to, which may be a new one. It returns nil if
// the connection has ended here: the other end learns so, or has learnt it.
func (s *Streams) find(node string, m *message) *Conn {
	k := key{node, m.id, m.side == sideAccepted}
	s.mu.Lock()
	c := s.conns[k]
	if c != nil || k.dialed || m.kind != kindData || m.position != 0 {
		s.mu.Unlock()
		return c
	}
	takes := !s.isClosed() && s.publish != nil && s.accepted < maxAccepted
	if takes {
		c = newConn(s, k)
		select {
		case s.waiting <- c:
			s.accepted++
			s.conns[k] = c
		default:
			takes = false
		}
	}
	s.mu.Unlock()
	if !takes {
		s.sendBroken(k)
		return nil
	}
	return c
}

// send publishes a message of a connection.
func (s *Streams) send(k key, m message) error {
	m.id, m.side = k.id, sideAccepted
	if k.dialed {
		m.side = sideDialed
	}
	s.mu.Lock()
	publish := s.publish
	s.mu.Unlock()
	if publish == nil {
		return net.ErrClosed
	}
	return publish(k.node, m.append(make([]byte, 0, 24+len(m.data))))
}

func (s *Streams) sendBroken(k key) { _ = s.send(k, message{kind: kindBroken}) } // it may hear by itself

// Break breaks all connections with a node: messages of it may be missing, or it is lost. It tells the
// node so, since what is missing may have opened a connection.
func (s *Streams) Break(node string) {
	s.breakOff(node)
	s.sendBroken(key{node, everyConn, true})
}

// BreakAll is Break for every node.
func (s *Streams) BreakAll() {
	s.mu.Lock()
	nodes := s.nodes
	s.mu.Unlock()
	if nodes == nil {
		return // there has been no message yet
	}
	for _, node := range nodes() {
		s.Break(node)
	}
}

// breakOff breaks all connections with a node.
func (s *Streams) breakOff(node string) {
	for _, c := range s.all() {
		if c.key.node == node {
			c.breakOff()
		}
	}
}

func (s *Streams) all() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.conns))
}

// Accept implements net.Listener.
func (s *Streams) Accept() (net.Conn, error) {
	select {
	case c := <-s.waiting:
		return c, nil
	case <-s.stopped:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It breaks all connections, and no more can be opened.
func (s *Streams) Close() error {
	s.mu.Lock()
	s.stopOnce.Do(func() { close(s.stopped) })
	s.mu.Unlock()
	nodes := make(map[string]struct{})
	for _, c := range s.all() {
		nodes[c.key.node] = struct{}{}
	}
	for node := range nodes {
		s.Break(node)
	}
	return nil
}

func (s *Streams) isClosed() bool {
	select {
	case <-s.stopped:
		return true
	default:
		return false
	}
}

// Addr implements net.Listener.
func (s *Streams) Addr() net.Addr { return address(s.node) }

// An address is the name of a node.
type address string

func (a address) Network() string { return "bus" }
func (a address) String() string  { return string(a) }

// Interface guard
var _ net.Listener = (*Streams)(nil)
