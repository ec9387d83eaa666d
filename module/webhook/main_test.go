package webhook

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/caddy-realtime/caddy-realtime/module/internal/defaults"
	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestMain(m *testing.M) { leak.Main(m) }

// A message is a request that a backend got.
type message struct {
	Type    string
	Attempt int
	Data    struct {
		Socket struct{ ID, Namespace string }
		State  map[string]any
		Event  string
		Args   []any
	}
	header http.Header
	host   string
	body   []byte
	status int // that a recorder answered with
}

// An application answers messages.
type application func(m *message) (status int, body string)

// ServeHTTP implements http.Handler.
func (a application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := &message{header: r.Header, host: r.Host}
	m.body, _ = io.ReadAll(r.Body)
	if err := json.Unmarshal(m.body, m); err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	status, body := a(m)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// A world is a hub whose endpoint has a backend.
type world struct {
	t        testing.TB
	hub      *realtime.Hub
	endpoint *realtime.Endpoint
	backend  *Handler
	queue    *Queue
}

// serve has an application behind HTTP.
func serve(t testing.TB, o Options, app application) *world {
	t.Helper()
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	o.URL = server.URL + "/realtime"
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	o.Transport = transport
	return newWorld(t, o)
}

// local has an application without a network, which is fit for a bubble.
func local(t testing.TB, o Options, app application) *world {
	t.Helper()
	o.URL, o.Transport = "http://backend/realtime", byApplication(app)
	return newWorld(t, o)
}

// patience is how long an application may take that answers at once, on any
// machine.
const patience = time.Minute

func newWorld(t testing.TB, o Options) *world {
	t.Helper()
	defaults.Set(&o.ConnectTimeout, patience)
	defaults.Set(&o.EventTimeout, patience)
	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, hub: hub, queue: new(Queue)}
	w.backend = New(o, w.queue)
	w.queue.Use(w.backend)
	policy := &realtime.Policy{
		Namespaces:     realtime.Globs{"/", "/tenant-*"},
		Authenticators: []realtime.Authenticator{w.backend},
		Handlers:       []realtime.Handler{w.backend},
	}
	w.endpoint = realtime.NewEndpoint("test", hub, func() (*realtime.Policy, func()) { return policy, func() {} })
	t.Cleanup(func() {
		w.queue.Leave(t.Context(), w.backend)
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// handshake returns one of a browser.
func (w *world) handshake() *realtime.Handshake {
	return &realtime.Handshake{
		Endpoint:  w.endpoint,
		Session:   "session",
		Protocol:  "socket.io",
		Transport: "websocket",
		ClientIP:  "203.0.113.7",
		Host:      "rt.example.com:8443",
		Secure:    true,
		Origin:    "https://app.example.com",
		Path:      "/socket.io/",
		Query:     map[string][]string{"EIO": {"4"}, "transport": {"websocket"}, "tenant": {"a"}, "tag": {"x", "y"}},
		Header:    http.Header{"Cookie": {"sid=s1"}, "Authorization": {"Bearer b"}, "User-Agent": {"test"}},
		Auth:      json.RawMessage(`{"token":"<t>"}`),
	}
}

// connect lets a client in.
func (w *world) connect() *client {
	w.t.Helper()
	c := new(client)
	if _, err := w.hub.Namespace("/").Connect(w.t.Context(), w.handshake(), c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// A client is in memory, and keeps what it is sent.
type client struct {
	socket *realtime.Socket

	mu       sync.Mutex
	received []string // events, as "<name> <args>", acks, as "ack <args>", and how it had to leave
}

func (c *client) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received = append(c.received, what)
}

// got returns what the client has received, and forgets it.
func (c *client) got() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := slices.Clone(c.received)
	c.received = nil
	return all
}

func (c *client) SendConnect(s *realtime.Socket) error {
	c.socket = s
	return nil
}

func (c *client) Deliver(m *realtime.Message, _ *realtime.Batch) error {
	c.note(m.Event + " " + string(realtime.AppendInlineArgs(nil, m.Args)))
	return nil
}

func (c *client) Disconnect(closing bool) error {
	if closing {
		c.note("closed")
	} else {
		c.note("left")
	}
	return nil
}

func (c *client) Close(reason string) { c.note("closed: " + reason) }

// ask sends an event and returns the arguments of its ack.
func (c *client) ask(t testing.TB, event string, args ...realtime.Arg) string {
	t.Helper()
	acked := make(chan string, 1)
	c.socket.HandleEvent(t.Context(), event, args, func(_ *realtime.Batch, args ...realtime.Arg) error {
		text := string(realtime.AppendInlineArgs(nil, args))
		c.note("ack " + text)
		acked <- text
		return nil
	})
	return <-acked
}

// checkSchema holds a message against its schema.
func checkSchema(t *testing.T, name string, body []byte) {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile("schema/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(v); err != nil {
		t.Errorf("%s\n%v", body, err)
	}
}

// A roundTripper takes requests nowhere.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// byApplication takes requests to an application without a network.
func byApplication(app application) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		app.ServeHTTP(w, r)
		return w.Result(), context.Cause(r.Context())
	}
}
