//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const handshakeTimeout = 30 * time.Second

// client is one Socket.IO connection over WebSocket. It costs little beside the
// servers: it parses only what it must, and after the handshake it is a bare file
// descriptor that its crowd reads.
type client struct {
	fd   int    // non-blocking; the caller of dial owns it
	rest []byte // the beginning of a frame

	// onPacket gets every Engine.IO packet except heartbeats. The bytes are valid until it
	// returns. If it is nil, a packet is an error.
	onPacket atomic.Pointer[func(packet []byte) error]

	writing sync.Mutex // guards out and the order of writes
	out     []byte
	mask    [4]byte
}

// dial connects to the default namespace of a server. The caller must close the client.
func dial(ctx context.Context, address string) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp4", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close() // the client has a descriptor of its own
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	// Thousands of closed connections in TIME_WAIT would use up the ports of the rounds that
	// follow.
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return nil, err
	}
	c := &client{}
	binary.NativeEndian.PutUint32(c.mask[:], rand.Uint32())
	if err := c.handshake(conn, address); err != nil {
		return nil, err
	}
	c.fd, err = duplicate(conn.(*net.TCPConn))
	return c, err
}

// handshake does the three handshakes of WebSocket, Engine.IO and Socket.IO.
func (c *client) handshake(conn net.Conn, address string) error {
	// The key and its answer are the example of RFC 6455, section 1.3.
	const key, accept = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	if _, err := fmt.Fprintf(conn, "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: %[1]s\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %[2]s\r\n"+
		"Origin: http://%[1]s\r\nUser-Agent: bench\r\n\r\n", address, key); err != nil {
		return fmt.Errorf("writing the handshake: %w", err)
	}
	r := bufio.NewReaderSize(conn, maxFrame)
	response, err := http.ReadResponse(r, nil) //nolint:bodyclose // what follows are frames, not a body
	if err != nil {
		return fmt.Errorf("reading the handshake: %w", err)
	}
	if response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Sec-WebSocket-Accept") != accept {
		return fmt.Errorf("handshake answered with %s", response.Status)
	}
	early, _ := r.Peek(r.Buffered())
	c.rest = bytes.Clone(early)
	if err := c.expect(conn, "0{"); err != nil {
		return err
	}
	if _, err := conn.Write(c.appendFrame(nil, []byte("40"))); err != nil {
		return fmt.Errorf("connecting to the namespace: %w", err)
	}
	return c.expect(conn, "40{")
}

// expect reads one packet and checks its prefix.
func (c *client) expect(conn net.Conn, prefix string) error {
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
		var buf [maxFrame]byte
		n, err := conn.Read(buf[:])
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", prefix, err)
		}
		c.rest = append(c.rest, buf[:n]...)
	}
}

// read reads once into a buffer that clients share, passes packets on and answers
// heartbeats. It must be called when the client is readable, by one goroutine at a
// time.
func (c *client) read(buf []byte) error {
	kept := copy(buf, c.rest)
	n, err := syscall.Read(c.fd, buf[kept:])
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	if n == 0 {
		return errors.New("connection ended by the server")
	}
	data := buf[:kept+n]
	for {
		packet, rest, err := cutFrame(data)
		if err != nil {
			return err
		}
		if packet == nil {
			c.rest = append(c.rest[:0], data...)
			return nil
		}
		data = rest
		if len(packet) == 1 && packet[0] == '2' {
			err = c.send([]byte("3"))
		} else if handle := c.onPacket.Load(); handle != nil {
			err = (*handle)(packet)
		} else {
			err = fmt.Errorf("unexpected packet %q", packet)
		}
		if err != nil {
			return err
		}
	}
}

// send writes one packet of at most 125 bytes. It may be called concurrently and never
// blocks. It is an error if the server has left so much unread that the kernel takes no
// more.
func (c *client) send(packet []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.out = c.appendFrame(c.out[:0], packet)
	for {
		n, err := syscall.Write(c.fd, c.out)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("writing: %w", err)
		case n < len(c.out):
			return errors.New("writing: the server does not read")
		}
		return nil
	}
}

// handle sets the function that gets the packets from now on; nil expects none.
func (c *client) handle(f func(packet []byte) error) {
	if f == nil {
		c.onPacket.Store(nil)
		return
	}
	c.onPacket.Store(&f)
}

func (c *client) close() { syscall.Close(c.fd) }

// maxFrame bounds the frames a client reads; the longest one expected is the Engine.IO handshake.
const maxFrame = 1024

// Opcodes with the FIN bit set; see RFC 6455, section 5.2.
const (
	textFrame  = 0x81
	closeFrame = 0x88
)

// cutFrame returns the payload of the text frame that data begins with, and what follows it. The
// payload is nil where the frame is not whole yet. See RFC 6455, section 5.2.
func cutFrame(data []byte) (payload, rest []byte, err error) {
	if len(data) < 2 {
		return nil, data, nil
	}
	header, length := 2, int(data[1])
	if length == 126 {
		if len(data) < 4 {
			return nil, data, nil
		}
		header, length = 4, int(binary.BigEndian.Uint16(data[2:]))
	}
	// Masked frames and those with a length of 64 bits end here too.
	if header == 2 && length > 126 || length > maxFrame {
		return nil, nil, fmt.Errorf("frame of length %d is none expected", length)
	}
	if len(data) < header+length {
		return nil, data, nil
	}
	payload, rest = data[header:header+length], data[header+length:]
	switch data[0] {
	case textFrame:
		return payload, rest, nil
	case closeFrame:
		return nil, nil, fmt.Errorf("closed by the server: %q", payload)
	}
	return nil, nil, fmt.Errorf("unexpected frame type %#x", data[0])
}

// appendFrame appends a masked text frame, as clients must.
func (c *client) appendFrame(out, packet []byte) []byte {
	if len(packet) > 125 {
		panic("packet needs a longer header than this client writes")
	}
	out = append(out, textFrame, 0x80|byte(len(packet)))
	out = append(out, c.mask[:]...)
	for i, b := range packet {
		out = append(out, b^c.mask[i%4])
	}
	return out
}

// duplicate returns a descriptor of the connection that Go's own poller does not know.
// That one would wake up for every packet, too.
func duplicate(conn *net.TCPConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var duplicate uintptr
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		duplicate, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return -1, fmt.Errorf("duplicating the connection: %w", err)
	}
	return int(duplicate), nil
}
