// Package sockets closes the TCP connections of client libraries whose own functions know no
// context, or wait for a server that does not answer.
package sockets

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// dialTimeout is how long a TCP connection may take.
const dialTimeout = time.Second

// Sockets are TCP connections. The zero value has none. All methods may be called concurrently.
type Sockets struct {
	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

// Dial dials a TCP connection.
func (s *Sockets) Dial(ctx context.Context, address string) (net.Conn, error) {
	tcp, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &socket{Conn: tcp, all: s}
	if !s.add(c) {
		return nil, errors.Join(net.ErrClosed, tcp.Close())
	}
	return c, nil
}

func (s *Sockets) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.open == nil {
		s.open = make(map[net.Conn]struct{})
	}
	s.open[c] = struct{}{}
	return true
}

// Close closes all connections, and those that would be dialed later.
func (s *Sockets) Close() {
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = nil
	s.mu.Unlock()
	for c := range open {
		_ = c.Close()
	}
}

// A socket is one of the connections.
type socket struct {
	net.Conn
	all *Sockets
}

func (c *socket) Close() error {
	c.all.mu.Lock()
	delete(c.all.open, c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}
