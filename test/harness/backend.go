package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"slices"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The secrets that backends are asked with: requests are signed by both.
const (
	FirstSecret  = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	SecondSecret = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
)

// A Message is what a backend is asked or told.
type Message struct {
	id      string // its webhook-id
	header  http.Header
	Type    string
	Attempt int
	Data    struct {
		Socket struct {
			ID        string
			Node      string
			Namespace string
			User      string
			Seq       int
			Rooms     []string
		}
		Auth      map[string]any
		State     map[string]any
		Event     string
		Args      []json.RawMessage
		Reason    string
		Initiator string
		Duration  int `json:"duration_ms"`
		Left      int `json:"user_connections_left"`
	}
}

// A Backend is a backend of the test's own. It wants every request signed,
// answers events by their names, and keeps what it gets.
type Backend struct {
	t    *testing.T
	name string
	Port int

	Handler http.Handler // answers in place of the service, unless nil

	Mu       sync.Mutex
	server   *http.Server
	stopping bool
	latest   time.Time // when the latest request was answered, or stopping began
	open     map[net.Conn]bool
	messages []Message
	changed  chan struct{}
	hold     chan struct{} // until it is closed "hold" is not answered
	Failing  int           // how many disconnects are still to be answered with 503
}

func NewBackend(t *testing.T, name string) *Backend {
	t.Helper()
	a := &Backend{t: t, name: name, Port: FreePort(t), changed: make(chan struct{}), hold: make(chan struct{})}
	a.Start()
	t.Cleanup(func() {
		a.Release()
		a.Stop()
	})
	return a
}

func (a *Backend) Address() string { return fmt.Sprintf("127.0.0.1:%d", a.Port) }

func (a *Backend) URL() string { return "http://" + a.Address() + "/realtime" }

// Start serves; also again, after stop.
func (a *Backend) Start() {
	a.t.Helper()
	listener, err := net.Listen("tcp", a.Address())
	for first := a.server == nil; err != nil; listener, err = net.Listen("tcp", a.Address()) {
		if !first {
			a.t.Fatal(err)
		}
		a.Port = FreePort(a.t) // somebody was faster
	}
	server := &http.Server{Handler: a, ConnState: a.count}
	a.Mu.Lock()
	a.server, a.stopping, a.open = server, false, make(map[net.Conn]bool)
	a.Mu.Unlock()
	go func() { _ = server.Serve(listener) }()
}

// count knows which connections are open.
func (a *Backend) count(conn net.Conn, state http.ConnState) {
	a.Mu.Lock()
	defer a.Mu.Unlock()
	switch state {
	case http.StateNew:
		a.open[conn] = true
	case http.StateClosed, http.StateHijacked:
		delete(a.open, conn)
	}
}

// Stop serves no more, when what has begun is answered. It does so as the README
// says: first the answers ask that nothing be sent for a while, and when nothing
// comes any more the socket that it listens on is closed.
func (a *Backend) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	a.Mu.Lock()
	server := a.server
	a.stopping, a.latest = true, time.Now()
	a.Mu.Unlock()
	for quiet := false; !quiet && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) { // until the requests have ended
		a.Mu.Lock()
		quiet = time.Since(a.latest) > StopPause/2
		a.Mu.Unlock()
	}
	if err := server.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		a.t.Errorf("stopping backend: %v", err)
	}
}

// StopPause is for how long nothing shall be sent to a service that is about to
// stop.
const StopPause = 2 * time.Second

// announceStop tells the client of a service that is about to stop that it is, and notes
// that a request has come.
func (a *Backend) announceStop(header http.Header) {
	a.Mu.Lock()
	defer a.Mu.Unlock()
	a.latest = time.Now()
	if a.stopping {
		header.Set("Connection", "close")
		header.Set("Retry-After", fmt.Sprint(StopPause.Seconds()))
	}
}

// Kill serves no more, at once.
func (a *Backend) Kill() {
	a.Mu.Lock()
	defer a.Mu.Unlock()
	_ = a.server.Close()
}

// CloseConnections closes all connections. It must be called while nothing is asked.
func (a *Backend) CloseConnections() {
	a.Mu.Lock()
	defer a.Mu.Unlock()
	for conn := range a.open {
		conn.Close()
	}
}

// Release answers what is held, now and later.
func (a *Backend) Release() {
	a.Mu.Lock()
	defer a.Mu.Unlock()
	select {
	case <-a.hold:
	default:
		close(a.hold)
	}
}

// ServeFastCGI serves by FastCGI as well, and returns where.
func (a *Backend) ServeFastCGI() string {
	a.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		a.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = fcgi.Serve(listener, a)
	}()
	a.t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return listener.Addr().String()
}

// ServeHTTP implements http.Handler.
func (a *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.Handler != nil {
		a.announceStop(w.Header())
		a.Handler.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // whoever asks has gone
	}
	for _, secret := range []string{FirstSecret, SecondSecret} {
		if err := VerifySignature(secret, body, r.Header); err != nil {
			a.t.Errorf("%s %s: %v", r.Method, r.URL, err)
			http.Error(w, "not signed", http.StatusUnauthorized)
			return
		}
	}
	m := Message{id: r.Header.Get("Webhook-Id"), header: r.Header}
	if err := json.Unmarshal(body, &m); err != nil {
		a.t.Errorf("%s: %v", body, err)
		http.Error(w, "no message", http.StatusBadRequest)
		return
	}
	status, answer := a.answer(&m)
	text, err := json.Marshal(answer)
	if err != nil {
		a.t.Error(err)
	}
	if answer == nil {
		text = nil
	}
	w.Header().Set("X-Service", a.name)
	a.announceStop(w.Header())
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

func VerifySignature(secret string, body []byte, header http.Header) error {
	webhook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	return webhook.Verify(body, header)
}

type object = map[string]any

func (a *Backend) answer(m *Message) (int, any) {
	a.Mu.Lock()
	a.messages = append(a.messages, *m)
	close(a.changed)
	a.changed = make(chan struct{})
	hold := a.hold
	failing := m.Type == "socket.disconnect" && a.Failing > 0
	if failing {
		a.Failing--
	}
	a.Mu.Unlock()
	switch {
	case failing:
		return http.StatusServiceUnavailable, nil
	case m.Type == "socket.connect":
		return a.connect(m)
	case m.Type == "socket.event":
		if m.Data.Event == "hold" {
			<-hold
		}
		return a.handle(m)
	}
	return http.StatusNoContent, nil
}

// connect lets clients in by their cookie, or whom the client says to be.
func (a *Backend) connect(m *Message) (int, any) {
	user, _ := m.Data.Auth["user"].(string)
	if cookie, err := (&http.Request{Header: m.header}).Cookie("user"); err == nil {
		user = cookie.Value
	}
	switch user {
	case "":
		return http.StatusNoContent, nil
	case "mallory":
		return http.StatusForbidden, object{"error": object{"message": "not you", "data": object{"retry": false}}}
	}
	answer := object{
		"user": user, "data": object{"userId": user, "organizationId": "o1", "role": "admin", "email": user + "@example.com"},
		"join": []string{"org:o1"},
		"emit": []object{{"event": "welcome", "args": []any{user, object{"$binary": "AQI="}}}},
	}
	if seconds, ok := m.Data.Auth["seconds"].(float64); ok {
		answer["expires_at"] = time.Now().Add(time.Duration(seconds * float64(time.Second)))
	}
	return http.StatusOK, answer
}

func (a *Backend) handle(m *Message) (int, any) {
	d := m.Data
	switch d.Event {
	case "echo", "hold":
		return http.StatusOK, object{"ack": d.Args}
	case "who":
		return http.StatusOK, object{"ack": []any{object{"user": d.Socket.User, "state": d.State, "rooms": d.Socket.Rooms, "by": a.name}}}
	case "enter":
		return http.StatusOK, object{"ack": []any{object{"ok": true}}, "join": d.Args}
	case "exit":
		return http.StatusOK, object{"ack": []any{object{"ok": true}}, "leave": d.Args}
	case "say": // a room, and what
		return http.StatusOK, object{"ack": []any{}, "emit": []object{{"to": d.Args[:1], "except": []string{d.Socket.ID}, "event": "said", "args": d.Args[1:]}}}
	case "become":
		return http.StatusOK, object{"data": object{"role": d.Args[0]}}
	case "refuse":
		return http.StatusUnprocessableEntity, object{"error": object{"code": "no_stock", "message": "none left"}}
	case "fail":
		return http.StatusInternalServerError, nil
	case "kick":
		return http.StatusOK, object{"ack": []any{"bye"}, "disconnect": object{"reason": "asked for it", "close": true}}
	}
	return http.StatusNoContent, nil
}

// Messages returns the messages of a type so far.
func (a *Backend) Messages(kind string) []Message {
	a.Mu.Lock()
	defer a.Mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.messages), func(m Message) bool { return m.Type != kind })
}

// WaitMessages waits until the messages of a type are as the test wants them.
func (a *Backend) WaitMessages(t *testing.T, kind, what string, ok func([]Message) bool) []Message {
	t.Helper()
	deadline := time.After(Timeout)
	for {
		a.Mu.Lock()
		changed := a.changed
		a.Mu.Unlock()
		got := a.Messages(kind)
		if ok(got) {
			return got
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%d messages %s, and not %s", len(got), kind, what)
		}
	}
}

// UniqueMessages returns messages by their ids, those that were repeated once.
func UniqueMessages(messages []Message) map[string]Message {
	unique := make(map[string]Message)
	for _, m := range messages {
		unique[m.id] = m
	}
	return unique
}
