package chaos

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Options are the options of a client.
type Options struct {
	URL       string      // of the server, such as http://127.0.0.1:8080
	Path      string      // default /socket.io/
	Transport string      // "websocket" or "polling"
	TLS       *tls.Config // what to trust, for https
	Origin    string      // default none, as of a native client
	Auth      map[string]any

	// Resend repeats requests whose connection the server had closed, as browsers do, or
	// that may be closed early; see MayBeClosed.
	Resend bool
	// Repeats counts these. Default: they are not counted.
	Repeats *Repeats

	// NoReconnect keeps the client from connecting again.
	NoReconnect bool
	Backoff     Backoff

	// Timeout bounds the time of connecting. Default 20 s, as in socket.io-client.
	Timeout time.Duration
}

func (o *Options) path() string {
	if o.Path == "" {
		return "/socket.io/"
	}
	return o.Path
}

func (o *Options) timeout() time.Duration {
	if o.Timeout == 0 {
		return 20 * time.Second
	}
	return o.Timeout
}

// A Listener learns what happens to a client, in order and by one goroutine at a time.
// It must not wait for the client.
type Listener interface {
	// Connected says that the client is connected, and whether it was recovered. The
	// missed events have come before.
	Connected(id string, recovered bool)
	Event(name string, args []json.RawMessage)
	// Lost says that a connection has ended, with the reason in socket.io-client's words
	// and the error.
	Lost(reason string, err error)
	// Refused says that an attempt to connect has failed. The error wraps a *net.OpError
	// of the operation "dial" if nobody listens.
	Refused(err error)
	// Wrong says that the server has done what no server may do.
	Wrong(err error)
}

var (
	// ErrLost is the result of waiting for an ack when the connection has ended.
	ErrLost = errors.New("the connection is gone")
	// ErrLate is the result if the ack has not come in time.
	ErrLate = errors.New("the ack has not come in time")
)

// A Client is a Socket.IO client of the namespace "/" that behaves like
// socket.io-client by default. It reconnects by itself and asks to be recovered. It
// reports every error that it sees and repairs none. Its methods may be called
// concurrently.
type Client struct {
	options  *Options
	listener Listener
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu        sync.Mutex
	transport transport // nil: not connected
	connected chan struct{}
	nextID    int
	acks      map[int]chan []json.RawMessage // closed when the connection is gone

	// Of the last connection. Only run uses them.
	id, pid, offset string
}

// NewClient returns a client, which begins to connect. The caller must call Close.
func NewClient(o *Options, l Listener) *Client {
	if o.Repeats == nil {
		o.Repeats = new(Repeats)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{options: o, listener: l, ctx: ctx, cancel: cancel, connected: make(chan struct{}), acks: make(map[int]chan []json.RawMessage)}
	c.running.Go(c.run)
	return c
}

// Close ends the connection and waits until all goroutines of the client have ended.
func (c *Client) Close() {
	c.cancel()
	c.running.Wait()
}

// Connected returns a channel that is closed while the client is connected.
func (c *Client) Connected() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connected
}

// Emit sends an event and waits for its ack. It returns ErrLost if the client is not
// connected.
func (c *Client) Emit(deadline time.Duration, name string, args ...any) ([]json.RawMessage, error) {
	c.mu.Lock()
	t, id := c.transport, c.nextID
	if t == nil {
		c.mu.Unlock()
		return nil, ErrLost
	}
	c.nextID++
	ack := make(chan []json.RawMessage, 1)
	c.acks[id] = ack
	c.mu.Unlock()
	text, err := appendEvent(nil, id, append([]any{name}, args...))
	if err != nil {
		return nil, err
	}
	// The reader finds out if the connection is broken.
	_ = t.write(text)
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	select {
	case answer, ok := <-ack:
		if !ok {
			return nil, ErrLost
		}
		return answer, nil
	case <-timer.C:
		return nil, ErrLate
	}
}

// run connects again and again.
func (c *Client) run() {
	for attempts := 0; ; attempts++ {
		wasConnected, reason, err := c.live()
		if c.ctx.Err() != nil {
			return
		}
		if wasConnected {
			attempts = 0
			c.listener.Lost(reason, err)
			if c.options.NoReconnect || reason == "io server disconnect" {
				return
			}
		} else {
			c.listener.Refused(err)
		}
		select {
		case <-time.After(c.options.Backoff.pause(attempts)):
		case <-c.ctx.Done():
			return
		}
	}
}

// live connects once and serves the connection until it ends.
func (c *Client) live() (wasConnected bool, reason string, err error) {
	t, h, err := c.open()
	if err != nil {
		return false, "", err
	}
	defer context.AfterFunc(c.ctx, t.close)()
	defer t.close()
	defer c.disconnected()
	if err := t.write(c.connectPacket()); err != nil {
		return false, "", err
	}
	deadline := time.Now().Add(c.options.timeout())
	for {
		if wasConnected {
			deadline = time.Now().Add(h.silence())
		}
		text, err := t.read(deadline)
		if err != nil {
			return wasConnected, reasonOf(err), err
		}
		switch {
		case len(text) == 0:
			return wasConnected, "parse error", errors.New("empty Engine.IO packet")
		case text[0] == enginePing:
			_ = t.write([]byte{'3'}) // a read reports the error
		case text[0] == engineNoop:
		case text[0] == engineClose:
			return wasConnected, "transport close", errEnded
		case text[0] == engineMessage:
			now, err := c.handle(t, text[1:], &wasConnected)
			if now != "" {
				return wasConnected, now, err
			}
		default:
			return wasConnected, "parse error", fmt.Errorf("unexpected Engine.IO packet %.100q", text)
		}
	}
}

// open opens an Engine.IO session.
func (c *Client) open() (transport, handshake, error) {
	deadline := time.Now().Add(c.options.timeout())
	var t transport
	var p *poller
	var err error
	if c.options.Transport == "polling" {
		p, err = openPoller(c.ctx, c.options, deadline)
		t = p
	} else {
		t, err = openSocket(c.ctx, c.options, deadline)
	}
	if err != nil {
		return nil, handshake{}, err
	}
	text, err := t.read(deadline)
	var h handshake
	if err == nil {
		h, err = decodeHandshake(text)
	}
	if err != nil {
		t.close()
		return nil, h, err
	}
	if p != nil {
		p.begin(h)
	}
	return t, h, nil
}

// connectPacket returns a CONNECT packet that asks for recovery if that is possible.
func (c *Client) connectPacket() []byte {
	auth := maps.Clone(c.options.Auth)
	if auth == nil {
		auth = make(map[string]any)
	}
	if c.pid != "" {
		auth["pid"] = c.pid
	}
	if c.offset != "" {
		auth["offset"] = c.offset
	}
	text, err := json.Marshal(auth)
	if err != nil {
		panic(err) // the test has written it
	}
	return append([]byte{engineMessage, packetConnect}, text...)
}

// handle handles a Socket.IO packet. A reason says that the connection must end.
func (c *Client) handle(t transport, text []byte, connected *bool) (reason string, err error) {
	p, err := parsePacket(text)
	if err != nil {
		return "parse error", err
	}
	switch p.kind {
	case packetConnect:
		var answer struct{ SID, PID string }
		if err := json.Unmarshal(p.data, &answer); err != nil || answer.SID == "" || *connected {
			return "parse error", fmt.Errorf("the namespace is entered with %s", text)
		}
		recovered := c.pid != "" && answer.PID == c.pid
		if recovered && answer.SID != c.id {
			c.listener.Wrong(fmt.Errorf("the same session is another socket: %s is %s now", c.id, answer.SID))
		}
		c.id, c.pid = answer.SID, answer.PID
		if !recovered {
			c.offset = ""
		}
		*connected = true
		c.listener.Connected(c.id, recovered)
		c.enter(t)
	case packetConnectError:
		return "connect error", fmt.Errorf("the namespace is refused: %s", p.data)
	case packetDisconnect:
		return "io server disconnect", errors.New("sent away by the server")
	case packetEvent, packetAck:
		var args []json.RawMessage
		if err := json.Unmarshal(p.data, &args); err != nil {
			return "parse error", fmt.Errorf("decoding %.100q: %w", text, err)
		}
		if p.kind == packetAck {
			c.acked(p.id, args)
			return "", nil
		}
		return c.event(args)
	}
	return "", nil
}

// event passes an event to the listener and keeps its offset.
func (c *Client) event(args []json.RawMessage) (reason string, err error) {
	var name, offset string
	if len(args) == 0 || json.Unmarshal(args[0], &name) != nil {
		return "parse error", fmt.Errorf("an event is %s", args)
	}
	args = args[1:]
	if last := len(args) - 1; c.pid != "" && last >= 0 && json.Unmarshal(args[last], &offset) == nil {
		args = args[:last]
	}
	c.listener.Event(name, args)
	if offset != "" { // only now: an event that was not handled must come again
		c.offset = offset
	}
	return "", nil
}

// acked passes an ack to the caller of Emit.
func (c *Client) acked(id int, args []json.RawMessage) {
	c.mu.Lock()
	ack, ok := c.acks[id]
	delete(c.acks, id)
	c.mu.Unlock()
	if !ok {
		c.listener.Wrong(fmt.Errorf("ack %d %s is of nothing, or the second one", id, args))
		return
	}
	ack <- args
}

func (c *Client) enter(t transport) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transport = t
	close(c.connected)
}

// disconnected tells the callers of Emit that no ack will come.
func (c *Client) disconnected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transport == nil {
		return
	}
	c.transport = nil
	c.connected = make(chan struct{})
	for _, ack := range c.acks {
		close(ack)
	}
	clear(c.acks)
}

// reasonOf returns socket.io-client's word for the end of reading.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "ping timeout"
	case errors.Is(err, errEnded):
		return "transport close"
	}
	return "transport error"
}

// NobodyListens reports whether an attempt to connect has failed because there was no
// server. While a server is restarted that is no fault.
func NobodyListens(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" && errors.Is(err, syscall.ECONNREFUSED)
}
