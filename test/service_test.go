package test

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
	firstSecret  = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	secondSecret = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
)

// A message is what a backend is asked or told.
type message struct {
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

// A service is a backend of the test's own. It wants every request signed,
// answers events by their names, and keeps what it gets.
type service struct {
	t    *testing.T
	name string
	port int

	instead http.Handler // answers in place of the service, unless nil

	mu       sync.Mutex
	server   *http.Server
	stopping bool
	latest   time.Time // when the latest request was answered, or stopping began
	open     map[net.Conn]bool
	messages []message
	changed  chan struct{}
	hold     chan struct{} // until it is closed "hold" is not answered
	failing  int           // how many disconnects are still to be answered with 503
}

func newService(t *testing.T, name string) *service {
	t.Helper()
	a := &service{t: t, name: name, port: freePort(t), changed: make(chan struct{}), hold: make(chan struct{})}
	a.start()
	t.Cleanup(func() {
		a.release()
		a.stop()
	})
	return a
}

func (a *service) address() string { return fmt.Sprintf("127.0.0.1:%d", a.port) }
func (a *service) url() string     { return "http://" + a.address() + "/realtime" }

// start serves; also again, after stop.
func (a *service) start() {
	a.t.Helper()
	listener, err := net.Listen("tcp", a.address())
	for first := a.server == nil; err != nil; listener, err = net.Listen("tcp", a.address()) {
		if !first {
			a.t.Fatal(err)
		}
		a.port = freePort(a.t) // somebody was faster
	}
	server := &http.Server{Handler: a, ConnState: a.count}
	a.mu.Lock()
	a.server, a.stopping, a.open = server, false, make(map[net.Conn]bool)
	a.mu.Unlock()
	go func() { _ = server.Serve(listener) }()
}

// count knows which connections are open.
func (a *service) count(conn net.Conn, state http.ConnState) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch state {
	case http.StateNew:
		a.open[conn] = true
	case http.StateClosed, http.StateHijacked:
		delete(a.open, conn)
	}
}

// stop serves no more, when what has begun is answered. It does so as the README
// says: first the answers ask that nothing be sent for a while, and when nothing
// comes any more the socket that it listens on is closed.
func (a *service) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a.mu.Lock()
	server := a.server
	a.stopping, a.latest = true, time.Now()
	a.mu.Unlock()
	for quiet := false; !quiet && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) { // until the requests have ended
		a.mu.Lock()
		quiet = time.Since(a.latest) > stopPause/2
		a.mu.Unlock()
	}
	if err := server.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		a.t.Errorf("stopping backend: %v", err)
	}
}

// stopPause is for how long nothing shall be sent to a service that is about to
// stop.
const stopPause = 2 * time.Second

// say tells the client of a service that is about to stop that it is, and notes
// that a request has come.
func (a *service) say(header http.Header) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.latest = time.Now()
	if a.stopping {
		header.Set("Connection", "close")
		header.Set("Retry-After", fmt.Sprint(stopPause.Seconds()))
	}
}

// kill serves no more, at once.
func (a *service) kill() {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.server.Close()
}

// shed closes all connections. It must be called while nothing is asked.
func (a *service) shed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for conn := range a.open {
		conn.Close()
	}
}

// release answers what is held, now and later.
func (a *service) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.hold:
	default:
		close(a.hold)
	}
}

// serveFastCGI serves by FastCGI as well, and returns where.
func (a *service) serveFastCGI() string {
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
func (a *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.instead != nil {
		a.say(w.Header())
		a.instead.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // whoever asks has gone
	}
	for _, secret := range []string{firstSecret, secondSecret} {
		if err := verify(secret, body, r.Header); err != nil {
			a.t.Errorf("%s %s: %v", r.Method, r.URL, err)
			http.Error(w, "not signed", http.StatusUnauthorized)
			return
		}
	}
	m := message{id: r.Header.Get("Webhook-Id"), header: r.Header}
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
	a.say(w.Header())
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

func verify(secret string, body []byte, header http.Header) error {
	webhook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	return webhook.Verify(body, header)
}

type object = map[string]any

func (a *service) answer(m *message) (int, any) {
	a.mu.Lock()
	a.messages = append(a.messages, *m)
	close(a.changed)
	a.changed = make(chan struct{})
	hold := a.hold
	failing := m.Type == "socket.disconnect" && a.failing > 0
	if failing {
		a.failing--
	}
	a.mu.Unlock()
	switch {
	case failing:
		return http.StatusServiceUnavailable, nil
	case m.Type == "socket.connect":
		return a.admit(m)
	case m.Type == "socket.event":
		if m.Data.Event == "hold" {
			<-hold
		}
		return a.handle(m)
	}
	return http.StatusNoContent, nil
}

// admit lets clients in by their cookie, or whom the client says to be.
func (a *service) admit(m *message) (int, any) {
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

func (a *service) handle(m *message) (int, any) {
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

// all returns the messages of a type so far.
func (a *service) all(kind string) []message {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.messages), func(m message) bool { return m.Type != kind })
}

// wait waits until the messages of a type are as the test wants them.
func (a *service) wait(t *testing.T, kind, what string, ok func([]message) bool) []message {
	t.Helper()
	deadline := time.After(patience)
	for {
		a.mu.Lock()
		changed := a.changed
		a.mu.Unlock()
		got := a.all(kind)
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

// once returns messages by their ids, those that were repeated once.
func once(messages []message) map[string]message {
	unique := make(map[string]message)
	for _, m := range messages {
		unique[m.id] = m
	}
	return unique
}
