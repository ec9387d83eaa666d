package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A recoverableConn is a connection whose client can recover. What is sent waits until the client
// receives it.
type recoverableConn struct {
	limit int // how many missed events it accepts at once; 0 means any number

	mu           sync.Mutex
	sent         []*realtime.Message
	broken       bool
	disconnected bool     // Disconnect was called
	closed       []string // the reasons of Close
}

func (c *recoverableConn) SendConnect(*realtime.Socket) error { return c.send() }

func (c *recoverableConn) Deliver(m *realtime.Message, _ *realtime.Batch) error {
	m.Encoding(c.limit, func(*realtime.Message) any { return nil })
	return c.send(m)
}

func (c *recoverableConn) SendRecovered(_ *realtime.Socket, missed []*realtime.Message) error {
	if c.limit > 0 && len(missed) > c.limit {
		return realtime.ErrBacklog
	}
	return c.send(missed...)
}

func (c *recoverableConn) Disconnect(bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disconnected = true
	return nil
}

func (c *recoverableConn) Close(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = append(c.closed, why)
}

func (c *recoverableConn) send(messages ...*realtime.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken {
		return errors.New("connection is broken")
	}
	c.sent = append(c.sent, messages...)
	return nil
}

// receive returns what has arrived, at most n messages.
func (c *recoverableConn) receive(n int) []*realtime.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, len(c.sent))
	arrived := c.sent[:n:n]
	c.sent = c.sent[n:]
	return arrived
}

func (c *recoverableConn) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sent)
}

// fail breaks the connection: what has not been received is lost.
func (c *recoverableConn) fail() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent, c.broken = nil, true
}

// A recoverableClient is a client like Socket.IO's: it remembers a private id and an offset.
type recoverableClient struct {
	e         *testEndpoint
	pid       string
	offset    string
	socket    *realtime.Socket // nil while it is disconnected
	last      *realtime.Socket // the socket that it had last
	conn      *recoverableConn
	received  []string                                      // recoverable events since it got a new socket
	faulty    func([]*realtime.Message) []*realtime.Message // returns what it gets of the arrived messages; nil means all
	onConnect func(*realtime.Socket)                        // may be nil
}

// sessions counts the sessions.
var sessions atomic.Int64

// connect connects, and reports whether the client has recovered its socket.
func (c *recoverableClient) connect(limit int) (recovered bool, err error) {
	conn := &recoverableConn{limit: limit}
	h := handshake(c.e)
	h.Session = fmt.Sprint("session ", sessions.Add(1))
	if c.pid != "" {
		h.Auth, _ = json.Marshal(map[string]string{"pid": c.pid, "offset": c.offset})
	}
	s, err := c.e.Hub().Lookup("/").Connect(context.Background(), h, conn)
	if err != nil {
		return false, err
	}
	recovered = c.pid != "" && s.PrivateID() == c.pid
	if s.Recovered() != recovered {
		return false, fmt.Errorf("Recovered is %v, but the ids say %v", s.Recovered(), recovered)
	}
	c.pid, c.socket, c.last, c.conn = s.PrivateID(), s, s, conn
	if c.onConnect != nil {
		c.onConnect(s)
	}
	if !recovered {
		c.received = nil
	}
	return recovered, nil
}

// receive receives at most n messages.
func (c *recoverableClient) receive(n int) {
	if c.conn == nil {
		return
	}
	arrived := c.conn.receive(n)
	if c.faulty != nil {
		arrived = c.faulty(arrived)
	}
	for _, m := range arrived {
		if m.Offset() == "" {
			continue // volatile: it may be lost
		}
		c.offset = m.Offset()
		c.received = append(c.received, m.Event)
	}
}

// disconnect breaks the connection.
func (c *recoverableClient) disconnect(why string) {
	c.conn.fail()
	c.socket.HandleDisconnect(why)
	c.socket, c.conn = nil, nil
}

// closings returns the reasons that Close was called with.
func (c *recoverableConn) closings() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.closed)
}
