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

// FirstSecret and SecondSecret sign the requests to a Backend.
const (
	FirstSecret  = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	SecondSecret = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
)

// A Message is a request to a backend: a question or a notice.
type Message struct {
	id      string // its Webhook-Id
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

// A Backend is an HTTP backend that runs in the test. It demands a signature by both
// secrets, answers events by their names and keeps all messages.
type Backend struct {
	t    *testing.T
	name string
	Port int

	Handler http.Handler // answers in place of the backend, unless nil

	Mu       sync.Mutex
	server   *http.Server
	stopping bool
	latest   time.Time // when the latest request was answered, or stopping began
	open     map[net.Conn]bool
	messages []Message
	batches  int // requests with several messages
	changed  chan struct{}
	hold     chan struct{} // until it is closed "hold" is not answered
	Failing  int           // how many disconnects are still to be answered with 503
}

// NewBackend starts a backend. The end of the test stops it.
func NewBackend(t *testing.T, name string) *Backend {
	t.Helper()
	b := &Backend{t: t, name: name, Port: FreePort(t), changed: make(chan struct{}), hold: make(chan struct{})}
	b.Start()
	t.Cleanup(func() {
		b.Release()
		b.Stop()
	})
	return b
}

// Address returns the host and port of the backend.
func (b *Backend) Address() string { return fmt.Sprintf("127.0.0.1:%d", b.Port) }

// URL returns the address for the directive "backend".
func (b *Backend) URL() string { return "http://" + b.Address() + "/realtime" }

// Start listens, for the first time or again after Stop.
func (b *Backend) Start() {
	b.t.Helper()
	listener, err := net.Listen("tcp", b.Address())
	for first := b.server == nil; err != nil; listener, err = net.Listen("tcp", b.Address()) {
		if !first {
			b.t.Fatal(err)
		}
		b.Port = FreePort(b.t) // somebody was faster
	}
	server := &http.Server{Handler: b, ConnState: b.count}
	b.Mu.Lock()
	b.server, b.stopping, b.open = server, false, make(map[net.Conn]bool)
	b.Mu.Unlock()
	go func() { _ = server.Serve(listener) }()
}

// count keeps the set of open connections.
func (b *Backend) count(conn net.Conn, state http.ConnState) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	switch state {
	case http.StateNew:
		b.open[conn] = true
	case http.StateClosed, http.StateHijacked:
		delete(b.open, conn)
	}
}

// Stop stops the backend as docs/backend.md recommends. For a while all answers ask the
// client to send nothing more. When no request comes any more, the listener closes.
func (b *Backend) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	b.Mu.Lock()
	server := b.server
	b.stopping, b.latest = true, time.Now()
	b.Mu.Unlock()
	for quiet := false; !quiet && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) { // until the requests have ended
		b.Mu.Lock()
		quiet = time.Since(b.latest) > StopPause/5
		b.Mu.Unlock()
	}
	if err := server.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		b.t.Errorf("stopping backend: %v", err)
	}
}

// StopPause is how long clients shall send nothing to a backend that is about to stop. That is long
// enough for a busy machine: a request that comes while the listener closes is lost.
const StopPause = 5 * time.Second

// announceStop notes a request, and tells the client if the backend is about to stop.
func (b *Backend) announceStop(header http.Header) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	b.latest = time.Now()
	if b.stopping {
		header.Set("Connection", "close")
		header.Set("Retry-After", fmt.Sprint(StopPause.Seconds()))
	}
}

// Kill closes the listener and all connections at once.
func (b *Backend) Kill() {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	_ = b.server.Close()
}

// CloseConnections closes all connections. No request may be in flight.
func (b *Backend) CloseConnections() {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	for conn := range b.open {
		conn.Close()
	}
}

// Release has the events "hold" be answered, now and later.
func (b *Backend) Release() {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	select {
	case <-b.hold:
	default:
		close(b.hold)
	}
}

// ServeFastCGI serves the same over FastCGI and returns its address.
func (b *Backend) ServeFastCGI() string {
	b.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = fcgi.Serve(listener, b)
	}()
	b.t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return listener.Addr().String()
}

// ServeHTTP implements http.Handler.
func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if b.Handler != nil {
		b.announceStop(w.Header())
		b.Handler.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	for _, secret := range []string{FirstSecret, SecondSecret} {
		if err := VerifySignature(secret, body, r.Header); err != nil {
			b.t.Errorf("%s %s: %v", r.Method, r.URL, err)
			http.Error(w, "not signed", http.StatusUnauthorized)
			return
		}
	}
	var m struct {
		Message
		Messages []struct {
			ID string
			Message
		}
	}
	if err := json.Unmarshal(body, &m); err != nil {
		b.t.Errorf("%s: %v", body, err)
		http.Error(w, "no message", http.StatusBadRequest)
		return
	}
	if m.Type == "batch" {
		all := make([]*Message, len(m.Messages))
		for i, one := range m.Messages {
			all[i] = &one.Message
			all[i].id, all[i].header = one.ID, r.Header
		}
		b.answerBatch(w, all)
		return
	}
	m.id, m.header = r.Header.Get("Webhook-Id"), r.Header
	status, answer := b.answer(&m.Message)
	text, err := json.Marshal(answer)
	if err != nil {
		b.t.Error(err)
	}
	if answer == nil {
		text = nil
	}
	w.Header().Set("X-Service", b.name)
	b.announceStop(w.Header())
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// answerBatch answers messages that come together, each by a line as soon as it is known.
func (b *Backend) answerBatch(w http.ResponseWriter, messages []*Message) {
	b.Mu.Lock()
	b.batches++
	b.Mu.Unlock()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("X-Service", b.name)
	b.announceStop(w.Header())
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, m := range messages {
		all.Go(func() {
			status, answer := b.answer(m)
			text, err := json.Marshal(object{"id": m.id, "status": status, "body": answer})
			if err != nil {
				b.t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			_, _ = w.Write(append(text, '\n'))
			_ = http.NewResponseController(w).Flush()
		})
	}
	all.Wait()
}

// Batches returns how many requests had several messages.
func (b *Backend) Batches() int {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	return b.batches
}

// VerifySignature checks the signature of a request.
func VerifySignature(secret string, body []byte, header http.Header) error {
	webhook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	return webhook.Verify(body, header)
}

type object = map[string]any

func (b *Backend) answer(m *Message) (int, any) {
	b.Mu.Lock()
	b.messages = append(b.messages, *m)
	close(b.changed)
	b.changed = make(chan struct{})
	hold := b.hold
	failing := m.Type == "socket.disconnect" && b.Failing > 0
	if failing {
		b.Failing--
	}
	b.Mu.Unlock()
	switch {
	case failing:
		return http.StatusServiceUnavailable, nil
	case m.Type == "socket.connect":
		return b.connect(m)
	case m.Type == "socket.event":
		if m.Data.Event == "hold" {
			<-hold
		}
		return b.handle(m)
	}
	return http.StatusNoContent, nil
}

// connect accepts clients by their cookie, or by the name in their auth.
func (b *Backend) connect(m *Message) (int, any) {
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

func (b *Backend) handle(m *Message) (int, any) {
	d := m.Data
	switch d.Event {
	case "echo", "hold":
		return http.StatusOK, object{"ack": d.Args}
	case "who":
		return http.StatusOK, object{"ack": []any{object{"user": d.Socket.User, "state": d.State, "rooms": d.Socket.Rooms, "by": b.name}}}
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

// Messages returns all messages of a type so far.
func (b *Backend) Messages(kind string) []Message {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.messages), func(m Message) bool { return m.Type != kind })
}

// WaitMessages waits until ok accepts the messages of a type. what describes them in
// the message of a test that fails.
func (b *Backend) WaitMessages(t *testing.T, kind, what string, ok func([]Message) bool) []Message {
	t.Helper()
	deadline := time.After(Timeout)
	for {
		b.Mu.Lock()
		changed := b.changed
		b.Mu.Unlock()
		got := b.Messages(kind)
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

// UniqueMessages returns messages by their ids: repetitions count once.
func UniqueMessages(messages []Message) map[string]Message {
	unique := make(map[string]Message)
	for _, m := range messages {
		unique[m.id] = m
	}
	return unique
}
