package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestMain(m *testing.M) { leak.Main(m) }

const testKey = "the-key-of-the-tests-0123456789abcdef"

// An api is a handler, and a hub with clients in memory.
type api struct {
	t        testing.TB
	hub      *realtime.Hub
	endpoint *realtime.Endpoint
	policy   *realtime.Policy // of the moment
	answers  *Answers
	handler  *Handler
	url      string
	client   *http.Client

	covered map[string]bool // "<method> <path of the description> <status>"
}

// serve serves the API of an endpoint that has a few namespaces.
func serve(t testing.TB, o Options, hubOptions realtime.Options) *api {
	t.Helper()
	a := local(t, o, hubOptions)
	server := httptest.NewServer(a.handler)
	t.Cleanup(server.Close)
	a.url, a.client = server.URL, server.Client()
	return a
}

// local is serve without a network, which is fit for a bubble.
func local(t testing.TB, o Options, hubOptions realtime.Options) *api {
	t.Helper()
	hub, err := realtime.NewHub(hubOptions)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := NewKeys("an-older-key-of-the-tests-0123456789", testKey)
	if err != nil {
		t.Fatal(err)
	}
	policy := &realtime.Policy{
		Namespaces:     realtime.Globs{"/", "/tenant-*"},
		Authenticators: []realtime.Authenticator{byProtocol{}},
	}
	a := &api{t: t, hub: hub, policy: policy, answers: new(Answers), covered: make(map[string]bool)}
	a.endpoint = realtime.NewEndpoint("test", hub, func() (*realtime.Policy, func()) { return a.policy, func() {} })
	o.Path, o.Keys, o.Answers = "/api/realtime/", keys, a.answers
	a.handler = NewHandler(a.endpoint, o)
	a.url, a.client = "http://backend", &http.Client{Transport: direct{a.handler}}
	t.Cleanup(func() {
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// direct takes requests to a handler.
type direct struct{ http.Handler }

// RoundTrip implements http.RoundTripper.
func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}

// byProtocol lets a client in as the user that its handshake says.
type byProtocol struct{}

func (byProtocol) Authenticate(_ context.Context, _ string, h *realtime.Handshake) (realtime.Identity, error) {
	return realtime.Identity{User: h.Query.Get("user"), Data: map[string]json.RawMessage{"of": json.RawMessage(`"` + h.Query.Get("user") + `"`)}}, nil
}

// A client is in memory, and keeps what it is sent.
type client struct {
	answer []realtime.Arg // to every event that awaits one; nil: none
	asked  chan uint64    // gets the number of every event that awaits one; nil: does not
	socket *realtime.Socket

	mu       sync.Mutex
	messages []*realtime.Message
	batches  []*realtime.Batch // that they came in
	left     []bool
}

func (c *client) SendConnect(s *realtime.Socket) error {
	c.socket = s
	return nil
}

func (c *client) Deliver(m *realtime.Message, in *realtime.Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.messages = append(c.messages, m)
	c.batches = append(c.batches, in)
	if m.Ack != 0 && c.answer != nil {
		go c.socket.HandleAck(m.Ack, c.answer)
	}
	if m.Ack != 0 && c.asked != nil {
		c.asked <- m.Ack
	}
	return nil
}

func (c *client) Disconnect(closing bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = append(c.left, closing)
	return nil
}

func (c *client) Close(string) {}

// received returns the events so far, as "<name> <args>", and forgets them.
func (c *client) received() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []string{}
	for _, m := range c.messages {
		all = append(all, m.Event+" "+string(realtime.AppendInlineArgs(nil, m.Args)))
	}
	c.messages = nil
	return all
}

// connect lets a client of a user in.
func (a *api) connect(namespace, user string, rooms ...string) *client {
	a.t.Helper()
	c := new(client)
	h := &realtime.Handshake{Endpoint: a.endpoint, Session: "session", Protocol: "test", Transport: "memory", Query: map[string][]string{"user": {user}}}
	s, err := a.hub.Namespace(namespace).Connect(a.t.Context(), h, c)
	if err != nil {
		a.t.Fatal(err)
	}
	s.Join(rooms...)
	return c
}

// A reply is an answer of the API.
type reply struct {
	status int
	header http.Header
	body   string
}

// call sends a request, with the key unless headers, names and values in turn,
// say another. The request and its answer are held against the description.
func (a *api) call(method, path, body string, headers ...string) reply {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), method, a.url+"/api/realtime/"+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+testKey)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := a.client.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	got := reply{answer.StatusCode, answer.Header, strings.TrimSpace(string(text))}
	if method != http.MethodHead { // whose answers have no body
		a.hold(r, body, got)
	}
	return got
}

// post is call for a POST that is answered with a status; it decodes the answer.
func (a *api) post(path, body string, status int, answer any) {
	a.t.Helper()
	a.decode(a.call(http.MethodPost, path, body), path+" "+body, status, answer)
}

func (a *api) get(path string, answer any) {
	a.t.Helper()
	a.decode(a.call(http.MethodGet, path, ""), path, http.StatusOK, answer)
}

func (a *api) decode(got reply, what string, status int, answer any) {
	a.t.Helper()
	if got.status != status {
		a.t.Fatalf("%.200s: %d %.200s, want %d", what, got.status, got.body, status)
	}
	if answer == nil {
		return
	}
	if err := json.Unmarshal([]byte(got.body), answer); err != nil {
		a.t.Fatalf("%.200s: %s: %v", what, got.body, err)
	}
}

// refuses checks that a request fails, with a code and a part of the message.
func (a *api) refuses(got reply, status int, code, message string) {
	a.t.Helper()
	var f struct{ Error Problem }
	if err := json.Unmarshal([]byte(got.body), &f); err != nil || got.status != status || f.Error.Code != code || !strings.Contains(f.Error.Message, message) {
		a.t.Errorf("answered %d %.300s, want %d %s %q", got.status, got.body, status, code, message)
	}
}

func equal[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// change posts to a call of sockets and checks how many it was done to.
func (a *api) change(name, body string, sockets int) {
	a.t.Helper()
	var answer struct{ Sockets int }
	a.post("sockets/"+name, body, http.StatusOK, &answer)
	if answer.Sockets != sockets {
		a.t.Errorf("%s %s: %d sockets, want %d", name, body, answer.Sockets, sockets)
	}
}

// emit emits an event and returns its id.
func (a *api) emit(body string) string {
	a.t.Helper()
	var answer struct{ ID string }
	a.post("emit", body, http.StatusAccepted, &answer)
	if len(answer.ID) < 20 {
		a.t.Errorf("emit %s: id %q", body, answer.ID)
	}
	return answer.ID
}

// quoted returns a list of names as JSON.
func quoted(names ...string) string {
	text, err := json.Marshal(names)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func named(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint(prefix, i)
	}
	return names
}

// Interface guards
var _ realtime.Conn = (*client)(nil)
