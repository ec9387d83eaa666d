//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const handshakeTimeout = 30 * time.Second

// target is where clients connect, and what they speak there.
type target struct {
	address  string
	secure   bool // TLS
	protocol *protocol
}

// client is one connection over WebSocket. It costs little beside the servers: it parses only what
// it must, and after the handshake it is a bare file descriptor that its crowd reads.
type client struct {
	*protocol
	wire *wire
	conn io.ReadWriter // the wire, or TLS over it
	rest []byte        // the beginning of a frame

	// onPacket gets every packet except heartbeats. The bytes are valid until it returns. If it
	// is nil, a packet is an error.
	onPacket atomic.Pointer[func(packet []byte) error]

	// onHeartbeat, if not nil, gets the time of each heartbeat.
	onHeartbeat atomic.Pointer[func(now time.Time)]

	writing sync.Mutex // guards out and the order of writes
	out     []byte
	mask    [4]byte
}

// dial connects client number i of a crowd to a server. The caller must close it.
func dial(ctx context.Context, to target, i int) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, err := dialer(i).DialContext(ctx, "tcp4", to.address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c := &client{protocol: to.protocol, wire: &wire{Conn: conn}}
	binary.NativeEndian.PutUint32(c.mask[:], rand.Uint32())
	// Thousands of closed connections in TIME_WAIT would use up the ports of the rounds that
	// follow.
	err = conn.(*net.TCPConn).SetLinger(0)
	if err == nil {
		err = c.connect(to)
	}
	if err == nil {
		err = c.wire.detach()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// connect does all handshakes.
func (c *client) connect(to target) error {
	c.conn = c.wire
	if to.secure {
		conn, err := c.wire.secure()
		if err != nil {
			return err
		}
		c.conn = conn
	}
	if err := c.upgrade(to.address); err != nil {
		return err
	}
	for _, step := range c.greeting {
		if step.send != "" {
			if err := c.send([]byte(step.send)); err != nil {
				return fmt.Errorf("greeting: %w", err)
			}
		}
		if err := c.expect(step.expect); err != nil {
			return err
		}
	}
	return nil
}

// upgrade does the handshake of WebSocket.
func (c *client) upgrade(host string) error {
	// The key and its answer are the example of RFC 6455, section 1.3.
	const key, accept = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	scheme := "http"
	if c.conn != c.wire {
		scheme = "https"
	}
	if _, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: %s\r\nOrigin: %s://%[2]s\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: %[4]s\r\nUser-Agent: bench\r\n\r\n", c.path, host, scheme, key); err != nil {
		return fmt.Errorf("writing the handshake: %w", err)
	}
	r := bufio.NewReaderSize(c.conn, 1024)
	response, err := http.ReadResponse(r, nil) //nolint:bodyclose // what follows are frames, not a body
	if err != nil {
		return fmt.Errorf("reading the handshake: %w", err)
	}
	if response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Sec-WebSocket-Accept") != accept {
		return fmt.Errorf("handshake answered with %s", response.Status)
	}
	early, _ := r.Peek(r.Buffered())
	c.rest = bytes.Clone(early)
	return nil
}

// expect reads one packet and checks its prefix.
func (c *client) expect(prefix string) error {
	for {
		packet, rest, err := cutFrame(c.rest)
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", prefix, err)
		}
		if packet != nil {
			if !bytes.HasPrefix(packet, []byte(prefix)) {
				return fmt.Errorf("got packet %q, want %s", packet, prefix)
			}
			c.rest = rest
			return nil
		}
		var buf [1024]byte
		n, err := c.conn.Read(buf[:])
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", prefix, err)
		}
		c.rest = append(c.rest, buf[:n]...)
	}
}

// read reads all that there is into a buffer that clients share, passes packets on and answers
// heartbeats. It must be called when the client is readable, by one goroutine at a time.
func (c *client) read(buf []byte) error {
	for {
		kept := copy(buf, c.rest)
		n, err := c.conn.Read(buf[kept:])
		if errors.Is(err, errDrained) {
			return nil
		}
		if err != nil {
			return err
		}
		rest, err := c.handleFrames(buf[:kept+n])
		if err != nil {
			return err
		}
		c.rest = append(c.rest[:0], rest...)
		// A short read of a plain connection has emptied it; TLS may hold more.
		if c.conn == c.wire && kept+n < len(buf) {
			return nil
		}
	}
}

// handleFrames handles all whole frames and returns the rest.
func (c *client) handleFrames(data []byte) (rest []byte, err error) {
	for {
		payload, rest, err := cutFrame(data)
		if err != nil || payload == nil {
			return rest, err
		}
		data = rest
		for more := true; more; {
			packet := payload
			more = false
			if c.lines {
				packet, payload, more = bytes.Cut(payload, []byte("\n"))
			}
			if err := c.handlePacket(packet); err != nil {
				return nil, err
			}
		}
	}
}

func (c *client) handlePacket(packet []byte) error {
	if string(packet) == c.heartbeat {
		if observe := c.onHeartbeat.Load(); observe != nil {
			(*observe)(time.Now())
		}
		return c.send([]byte(c.heartbeatAnswer))
	}
	if handle := c.onPacket.Load(); handle != nil {
		return (*handle)(packet)
	}
	return fmt.Errorf("unexpected packet %q", packet)
}

// send writes one packet. It may be called concurrently and never blocks.
func (c *client) send(packet []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.out = appendFrame(c.out[:0], c.mask, packet)
	_, err := c.conn.Write(c.out)
	return err
}

// handle sets the function that gets the packets from now on; nil expects none.
func (c *client) handle(f func(packet []byte) error) {
	if f == nil {
		c.onPacket.Store(nil)
		return
	}
	c.onPacket.Store(&f)
}

func (c *client) close() { _ = c.wire.Close() }
