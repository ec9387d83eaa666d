package response

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A deadlined response notes the deadlines that are set. As with a server's, they may be set
// concurrently.
type deadlined struct {
	http.ResponseWriter
	mu          sync.Mutex
	read, write []time.Time
}

func (w *deadlined) SetReadDeadline(d time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read = append(w.read, d)
	return nil
}

func (w *deadlined) SetWriteDeadline(d time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.write = append(w.write, d)
	return nil
}

// TestAnswerDeadline: once there is an answer the client has the time-out to take
// it, and what an upgrade takes over has none.
func TestAnswerDeadline(t *testing.T) {
	const timeout = time.Hour
	for _, test := range []struct {
		name    string
		timeout time.Duration
		change  func(*http.Request)
		bounded bool
	}{
		{"a poll", timeout, func(*http.Request) {}, true},
		{"a poll over HTTP/2", timeout, func(r *http.Request) { r.ProtoMajor = 2 }, true},
		{"no time-out", 0, func(*http.Request) {}, false},
		{"an upgrade", timeout, func(r *http.Request) { r.Header.Set("Upgrade", "websocket") }, false},
		{"a tunnel", timeout, func(r *http.Request) { r.Method, r.ProtoMajor = http.MethodConnect, 2 }, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/socket.io/", nil)
		test.change(r)
		server := &caddyhttp.Server{WriteTimeout: caddy.Duration(test.timeout)}
		w := &deadlined{ResponseWriter: httptest.NewRecorder()}
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, server))
		answer := New(w, r, nil, context.Background())
		if test.timeout > 0 && (len(w.write) != 1 || !w.write[0].IsZero()) {
			t.Errorf("%s: while it waits it has the deadlines %v", test.name, w.write)
		}
		begun := time.Now()
		answer.WriteHeader(http.StatusOK)
		_, _ = answer.Write([]byte("hello"))
		switch last := append([]time.Time{{}}, w.write...)[len(w.write)]; {
		case !test.bounded && !last.IsZero():
			t.Errorf("%s: it has a deadline", test.name)
		case test.bounded && (len(w.write) != 2 || last.Before(begun.Add(timeout)) || last.After(time.Now().Add(timeout))):
			t.Errorf("%s: its deadlines are %v", test.name, w.write)
		}
	}

	// Once an exit is over its time, so is an answer.
	expired, cut := context.WithCancel(context.Background())
	cut()
	w := &deadlined{ResponseWriter: httptest.NewRecorder()}
	r := httptest.NewRequest(http.MethodGet, "/socket.io/", nil)
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, &caddyhttp.Server{WriteTimeout: caddy.Duration(timeout)}))
	answer := New(w, r, nil, expired)
	answer.WriteHeader(http.StatusOK)
	answer.Finish() // waits for what sets a deadline beside it
	if last := w.write[len(w.write)-1]; last.IsZero() || last.After(time.Now()) {
		t.Errorf("the deadlines at an exit are %v", w.write)
	}
}
