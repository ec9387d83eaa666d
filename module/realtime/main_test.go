package realtime_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestMain(m *testing.M) { leak.Main(m) }

// timeout is how long a test waits for what must happen, on any machine.
const timeout = time.Minute

// hub returns a hub that is closed when the test ends.
func hub(t testing.TB, o realtime.Options) *realtime.Hub {
	t.Helper()
	h, err := realtime.NewHub(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error("closing hub:", err)
		}
	})
	return h
}

// A testEndpoint is an endpoint whose policy can be replaced. It counts the policies in use.
type testEndpoint struct {
	*realtime.Endpoint

	mu     sync.Mutex
	policy *realtime.Policy
	inUse  int
}

func open(h *realtime.Hub, policy realtime.Policy) *testEndpoint {
	e := &testEndpoint{policy: &policy}
	e.Endpoint = realtime.NewEndpoint("test", h, func() (*realtime.Policy, func()) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.inUse++
		var once sync.Once
		return e.policy, func() {
			once.Do(func() {
				e.mu.Lock()
				defer e.mu.Unlock()
				e.inUse--
			})
		}
	})
	return e
}

func (e *testEndpoint) set(policy realtime.Policy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.policy = &policy
}

func (e *testEndpoint) policiesInUse() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.inUse
}

// A member is a socket and its client.
type member struct {
	*realtime.Socket
	client *client
}

// A client is a Conn that records what it is sent.
type client struct {
	onDeliver func(*realtime.Message) error // nil accepts everything

	mu        sync.Mutex
	connected []string // the ids of SendConnect
	messages  []*realtime.Message
	batches   []*realtime.Batch // the batch of each message
	left      []bool            // the arguments of Disconnect
	closed    []string          // the reasons of Close
}

// SendConnect implements realtime.Conn.
func (c *client) SendConnect(s *realtime.Socket) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected = append(c.connected, s.ID())
	return nil
}

// Deliver implements realtime.Conn.
func (c *client) Deliver(m *realtime.Message, batch *realtime.Batch) error {
	c.mu.Lock()
	c.messages = append(c.messages, m)
	c.batches = append(c.batches, batch)
	c.mu.Unlock()
	if c.onDeliver != nil {
		return c.onDeliver(m)
	}
	return nil
}

// Disconnect implements realtime.Conn.
func (c *client) Disconnect(closing bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = append(c.left, closing)
	return nil
}

// Close implements realtime.Conn.
func (c *client) Close(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = append(c.closed, reason)
}

// closings returns the reasons that Close was called with.
func (c *client) closings() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.closed)
}

// received returns the messages so far.
func (c *client) received() []*realtime.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.messages)
}

// events returns the names of the events so far.
func (c *client) events() []string {
	names := []string{}
	for _, m := range c.received() {
		names = append(names, m.Event)
	}
	return names
}

// join connects a client to "/" and has its socket join rooms.
func join(t testing.TB, e *testEndpoint, rooms ...string) *member {
	t.Helper()
	return joinNamespace(t, e, "/", rooms...)
}

func joinNamespace(t testing.TB, e *testEndpoint, namespace string, rooms ...string) *member {
	t.Helper()
	c := new(client)
	socket, err := e.Hub().Lookup(namespace).Connect(t.Context(), handshake(e), c)
	if err != nil {
		t.Fatal(err)
	}
	socket.Join(rooms...)
	return &member{socket, c}
}

func handshake(e *testEndpoint) *realtime.Handshake {
	return &realtime.Handshake{Endpoint: e.Endpoint, Session: "session", Protocol: "test", Transport: "memory"}
}

// A guest is a handler made of functions. A nil function does nothing.
type guest struct {
	connect    func(*realtime.Socket)
	event      func(context.Context, *realtime.Event) (bool, error)
	disconnect func(*realtime.Socket, string)
}

func (g guest) HandleConnect(_ context.Context, s *realtime.Socket) {
	if g.connect != nil {
		g.connect(s)
	}
}

func (g guest) HandleEvent(ctx context.Context, e *realtime.Event) (bool, error) {
	if g.event != nil {
		return g.event(ctx, e)
	}
	return false, nil
}

func (g guest) HandleDisconnect(_ context.Context, s *realtime.Socket, why string) {
	if g.disconnect != nil {
		g.disconnect(s, why)
	}
}

// An authenticatorFunc is an authenticator made of a function.
type authenticatorFunc func(ctx context.Context, namespace string, h *realtime.Handshake) (realtime.Identity, error)

func (d authenticatorFunc) Authenticate(ctx context.Context, namespace string, h *realtime.Handshake) (realtime.Identity, error) {
	return d(ctx, namespace, h)
}

// acceptAs returns an authenticator that accepts everyone with an identity.
func acceptAs(identity realtime.Identity) authenticatorFunc {
	return func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) { return identity, nil }
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

// arg returns an argument from JSON.
func arg(s string) realtime.Arg { return realtime.Arg{JSON: raw(s)} }

// texts returns the JSON of arguments.
func texts(args []realtime.Arg) []string {
	all := []string{}
	for _, a := range args {
		all = append(all, string(a.JSON))
	}
	return all
}

func equal[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// Interface guards
var (
	_ realtime.Conn          = (*client)(nil)
	_ realtime.Handler       = guest{}
	_ realtime.Authenticator = authenticatorFunc(nil)
)
