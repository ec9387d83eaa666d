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

// patience is how long a test waits for what must happen, on any machine.
const patience = time.Minute

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

// entrance is an endpoint whose policy may be exchanged, and which counts how
// many are in use.
type entrance struct {
	*realtime.Endpoint

	mu     sync.Mutex
	policy *realtime.Policy
	inUse  int
}

func open(h *realtime.Hub, policy realtime.Policy) *entrance {
	e := &entrance{policy: &policy}
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

func (e *entrance) set(policy realtime.Policy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.policy = &policy
}

func (e *entrance) users() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.inUse
}

// A member is a socket and its client.
type member struct {
	*realtime.Socket
	client *client
}

// A client is in memory, and keeps what it is sent.
type client struct {
	onDeliver func(*realtime.Message) error // nil: takes everything

	mu        sync.Mutex
	connected []string // the ids that Connected was called with
	messages  []*realtime.Message
	batches   []*realtime.Batch // that the messages came in
	left      []bool            // what Leave was called with
	closed    []string          // what Close was called with
}

// Connected implements realtime.Conn.
func (c *client) SendConnect(s *realtime.Socket) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected = append(c.connected, s.ID())
	return nil
}

// Deliver implements realtime.Conn.
func (c *client) Deliver(m *realtime.Message, in *realtime.Batch) error {
	c.mu.Lock()
	c.messages = append(c.messages, m)
	c.batches = append(c.batches, in)
	c.mu.Unlock()
	if c.onDeliver != nil {
		return c.onDeliver(m)
	}
	return nil
}

// Leave implements realtime.Conn.
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

// join connects a member to "/" and has it join rooms.
func join(t testing.TB, e *entrance, rooms ...string) *member {
	t.Helper()
	return joinNamespace(t, e, "/", rooms...)
}

func joinNamespace(t testing.TB, e *entrance, namespace string, rooms ...string) *member {
	t.Helper()
	c := new(client)
	socket, err := e.Hub().Lookup(namespace).Connect(t.Context(), handshake(e), c)
	if err != nil {
		t.Fatal(err)
	}
	socket.Join(rooms...)
	return &member{socket, c}
}

func handshake(e *entrance) *realtime.Handshake {
	return &realtime.Handshake{Endpoint: e.Endpoint, Session: "session", Protocol: "test", Transport: "memory"}
}

// A guest is a handler made of functions; nil ones do nothing.
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

// A door is an authenticator made of a function.
type door func(ctx context.Context, namespace string, h *realtime.Handshake) (realtime.Identity, error)

func (d door) Authenticate(ctx context.Context, namespace string, h *realtime.Handshake) (realtime.Identity, error) {
	return d(ctx, namespace, h)
}

// admits is a door that lets everyone in as somebody.
func admits(identity realtime.Identity) door {
	return func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) { return identity, nil }
}

func raw(s string) json.RawMessage { return json.RawMessage(s) }

// arg is an argument of plain JSON.
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
	_ realtime.Authenticator = door(nil)
)
