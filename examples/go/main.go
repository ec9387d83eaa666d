// A backend in Go's standard library: an API with sessions, and what realtime
// adds to it. Clients connect to Caddy, which asks POST /realtime who they are
// and what follows from their events.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// user is also what the backend says of a socket, and gets with each event.
type user struct {
	UserID         string `json:"userId"`
	OrganizationID string `json:"organizationId"`
	Role           string `json:"role"`
	Email          string `json:"email"`
}

var users = map[string]user{
	"ann@example.com": {"u1", "acme", "admin", "ann@example.com"},
	"bob@example.com": {"u2", "acme", "member", "bob@example.com"},
	"eve@example.com": {"u3", "umbrella", "member", "eve@example.com"},
}

type server struct {
	key      []byte // signs what Caddy asks
	emitURL  string // where events are posted to, and the key for it
	emitKey  string
	sessions sync.Map // user, by the value of the cookie
	requests seen     // signatures
	gone     seen     // ids of disconnects
	messages atomic.Int64
	stopping atomic.Bool
}

func main() {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("REALTIME_SECRET"), "whsec_"))
	if err != nil || len(key) == 0 {
		log.Fatal("REALTIME_SECRET is missing; make one: echo whsec_$(openssl rand -base64 32)")
	}
	s := &server{
		key:     key,
		emitURL: cmp.Or(os.Getenv("REALTIME_URL"), "http://localhost:8080/api/realtime") + "/emit",
		emitKey: os.Getenv("REALTIME_KEY"),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, map[string]string{"status": "ok"}) })
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("GET /me", s.me)
	mux.HandleFunc("POST /announcements", s.announce)
	mux.HandleFunc("POST /realtime", s.realtime)
	s.serve(&http.Server{Addr: cmp.Or(os.Getenv("API_ADDRESS"), "localhost:3000"), Handler: s.lastAnswers(mux)})
}

// login stands for yours.
func (s *server) login(w http.ResponseWriter, r *http.Request) {
	var credentials struct{ Email string }
	_ = json.NewDecoder(r.Body).Decode(&credentials)
	u, ok := users[credentials.Email]
	if !ok {
		fail(w, http.StatusUnauthorized, "unknown_user", "nobody has this address")
		return
	}
	id := rand.Text()
	s.sessions.Store(id, u)
	http.SetCookie(w, &http.Cookie{Name: "session", Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	w.WriteHeader(http.StatusNoContent)
}

// logout ends the session of a browser.
func (s *server) logout(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie("session"); err == nil {
		s.sessions.Delete(cookie.Value)
	}
	http.SetCookie(w, &http.Cookie{Name: "session", Path: "/", MaxAge: -1})
	w.WriteHeader(http.StatusNoContent)
}

// me tells the page who has logged in.
func (s *server) me(w http.ResponseWriter, r *http.Request) {
	u, ok := s.session(r)
	if !ok {
		fail(w, http.StatusUnauthorized, "no_session", "log in first")
		return
	}
	answer(w, http.StatusOK, u)
}

// session returns who has sent a request. It is the same for requests of
// browsers and for those that Caddy makes when a client connects.
func (s *server) session(r *http.Request) (user, bool) {
	cookie, err := r.Cookie("session")
	if err != nil {
		return user{}, false
	}
	u, ok := s.sessions.Load(cookie.Value)
	if !ok {
		return user{}, false
	}
	return u.(user), true
}

// announce is an ordinary request that everybody in the organisation hears of.
func (s *server) announce(w http.ResponseWriter, r *http.Request) {
	u, ok := s.session(r)
	if !ok || u.Role != "admin" {
		fail(w, http.StatusForbidden, "forbidden", "only admins announce")
		return
	}
	var announcement struct {
		Text string `json:"text"`
	}
	if err := json.NewDecoder(r.Body).Decode(&announcement); err != nil || announcement.Text == "" {
		fail(w, http.StatusUnprocessableEntity, "no_text", "an announcement has a text")
		return
	}
	if err := s.emit(r.Context(), emission{To: []string{"org:" + u.OrganizationID}, Event: "announcement", Args: []any{announcement}}); err != nil {
		log.Print(err)
		fail(w, http.StatusBadGateway, "not_announced", "the announcement was not sent")
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

type emission struct {
	To     []string `json:"to,omitempty"`
	Except []string `json:"except,omitempty"`
	Event  string   `json:"event"`
	Args   []any    `json:"args"`
}

// emit posts an event.
func (s *server) emit(ctx context.Context, e emission) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.emitURL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+s.emitKey)
	r.Header.Set("Content-Type", "application/json")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = a.Body.Close() }()
	if a.StatusCode != http.StatusAccepted {
		return fmt.Errorf("emitting %s: %s", e.Event, a.Status)
	}
	return nil
}

// message is what Caddy asks or tells.
type message struct {
	ID       string    `json:"id"` // of a message in a batch
	Messages []message `json:"messages"`
	Type     string    `json:"type"`
	Data     struct {
		Socket struct {
			ID string `json:"id"`
		} `json:"socket"`
		State  user              `json:"state"`
		Event  string            `json:"event"`
		Args   []json.RawMessage `json:"args"`
		Reason string            `json:"reason"`
		Left   int               `json:"user_connections_left"`
	} `json:"data"`
}

// realtime answers Caddy.
func (s *server) realtime(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<20))
	if err != nil {
		fail(w, http.StatusBadRequest, "bad_request", "the body cannot be read")
		return
	}
	if err := s.verify(r.Header, body); err != nil {
		// It is not the client's fault: a secret is wrong, or this is not Caddy.
		fail(w, http.StatusInternalServerError, "bad_signature", err.Error())
		return
	}
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		fail(w, http.StatusBadRequest, "bad_request", "the body is no message")
		return
	}
	switch m.Type {
	case "batch":
		s.batch(w, m.Messages)
	case "socket.connect":
		s.connect(w, r, &m)
	default:
		m.ID = r.Header.Get("Webhook-Id")
		status, value := s.handle(&m)
		answer(w, status, value)
	}
}

// batch answers messages that come together, each by a line. An event that takes longer would
// be handled by a goroutine, and its line flushed.
func (s *server) batch(w http.ResponseWriter, messages []message) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	for _, m := range messages {
		status, body := s.handle(&m)
		_ = json.NewEncoder(w).Encode(map[string]any{"id": m.ID, "status": status, "body": body})
	}
}

// handle returns the answer to a message.
func (s *server) handle(m *message) (status int, value any) {
	switch m.Type {
	case "socket.event":
		return s.event(m)
	case "socket.disconnect":
		if s.gone.first(m.ID) { // it may be told more than once
			log.Printf("%s disconnected: %s, %d connections left", m.Data.State.Email, m.Data.Reason, m.Data.Left)
		}
	}
	return http.StatusNoContent, nil // also to what is of a newer Caddy
}

// connect lets in who has a session.
func (s *server) connect(w http.ResponseWriter, r *http.Request, m *message) {
	u, ok := s.session(r)
	if !ok {
		fail(w, http.StatusUnauthorized, "no_session", "log in first")
		return
	}
	log.Printf("%s connected: %s", u.Email, m.Data.Socket.ID)
	answer(w, http.StatusOK, map[string]any{"user": u.UserID, "data": u, "join": []string{"org:" + u.OrganizationID}})
}

// event handles what clients send.
func (s *server) event(m *message) (status int, value any) {
	if m.Data.Event != "message:send" || len(m.Data.Args) == 0 {
		return http.StatusUnprocessableEntity, problem("unknown_event", "there is message:send, with {text}")
	}
	var sent struct{ Text string }
	if err := json.Unmarshal(m.Data.Args[0], &sent); err != nil || sent.Text == "" {
		return http.StatusUnprocessableEntity, problem("no_text", "a message has a text")
	}
	id := s.messages.Add(1)
	return http.StatusOK, map[string]any{
		"ack": []any{map[string]any{"ok": true, "id": id}},
		"emit": []emission{{
			To:     []string{"org:" + m.Data.State.OrganizationID},
			Except: []string{m.Data.Socket.ID},
			Event:  "message:new",
			Args:   []any{map[string]any{"id": id, "text": sent.Text, "from": m.Data.State.Email}},
		}},
	}
}

// tolerance is how old a request may be, and how long it is remembered.
const tolerance = 5 * time.Minute

// verify checks the signature of a request, by the scheme of Standard Webhooks:
// it is Caddy's, of this moment, and here for the first time.
func (s *server) verify(header http.Header, body []byte) error {
	id, timestamp := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	at, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)).Abs() > tolerance {
		return errors.New("the request is too old, or of the future")
	}
	mac := hmac.New(sha256.New, s.key)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for got := range strings.FieldsSeq(header.Get("Webhook-Signature")) { // one for each secret
		if hmac.Equal([]byte(got), []byte(want)) {
			if !s.requests.first(want) { // another attempt has another signature
				return errors.New("the request has been here before")
			}
			return nil
		}
	}
	return errors.New("the signature is wrong")
}

// seen remembers what was there within twice the tolerance.
type seen struct {
	mu      sync.Mutex
	now     map[string]bool
	before  map[string]bool
	rotated time.Time
}

// first reports whether it sees something for the first time.
func (s *seen) first(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.rotated) > 2*tolerance {
		s.now, s.before, s.rotated = make(map[string]bool), s.now, time.Now()
	}
	known := s.now[what] || s.before[what]
	s.now[what] = true
	return !known
}

func answer(w http.ResponseWriter, status int, value any) {
	if value == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

func problem(code, message string) map[string]any {
	return map[string]any{"error": map[string]string{"code": code, "message": message}}
}

func fail(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, problem(code, message))
}

// serve serves until the process is told to end.
func (s *server) serve(h *http.Server) {
	listener, err := net.Listen("tcp", h.Addr)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() { _ = h.Serve(listener) }() // until Shutdown
	log.Printf("listening on %s", h.Addr)
	<-ctx.Done()
	// Caddy keeps to itself what comes from now on, and asks again what cannot
	// connect any more. By the time that the socket is closed nothing is on its way.
	s.stopping.Store(true)
	time.Sleep(500 * time.Millisecond) // the answers tell the server first
	if err := h.Shutdown(context.Background()); err != nil {
		log.Print(err)
	}
}

// lastAnswers has each connection end with the next answer once the server stops,
// and Caddy wait before it sends anything more.
func (s *server) lastAnswers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.stopping.Load() {
			w.Header().Set("Connection", "close")
			w.Header().Set("Retry-After", "1") // seconds
		}
		next.ServeHTTP(w, r)
	})
}
