package socketio

import (
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// TestRecoveryOfManySmall: a client over polling gets thousands of small events that it missed.
func TestRecoveryOfManySmall(t *testing.T) {
	const missed = 5000
	s := newTestServer(t, nil)
	hub := s.endpoint.Hub()
	hub.SetRecovery(realtime.Recovery{Window: time.Hour})
	n := hub.Namespace("/")
	between := func(text, from, to string) string {
		t.Helper()
		_, rest, found := strings.Cut(text, from)
		inside, _, ended := strings.Cut(rest, to)
		if !found || !ended {
			t.Fatalf("%.200s has no %s", text, from)
		}
		return inside
	}
	p := newPoller(t, s)
	p.do(http.MethodPost, "40")
	pid := between(p.do(http.MethodGet, ""), `"pid":"`, `"`)
	emit := func() {
		t.Helper()
		if err := n.To().Emit(t.Context(), "news", realtime.String("x")); err != nil {
			t.Fatal(err)
		}
	}
	emit()
	offset := between(p.do(http.MethodGet, ""), `["news","x","`, `"`)
	socket := n.Sockets()[0]
	socket.Close("transport close")
	for deadline := time.Now().Add(time.Minute); len(n.Sockets()) > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it is still there")
		}
	}
	for range missed {
		emit()
	}
	p = newPoller(t, s)
	p.do(http.MethodPost, `40{"pid":"`+pid+`","offset":"`+offset+`"}`)
	got := p.do(http.MethodGet, "")
	if count := strings.Count(got, `42["news","x",`); count != missed || !strings.Contains(got, pid) {
		t.Errorf("%d of %d events come; it ends with %s", count, missed, got[max(0, len(got)-100):])
	}
}
