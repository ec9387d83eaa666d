package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A recorder is a backend that keeps what it is told.
type recorder struct {
	mu     sync.Mutex
	status int
	told   []*message
	times  []time.Time
}

func (l *recorder) transport() http.RoundTripper {
	return byApplication(func(m *message) (int, string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if m.Type == typeDisconnect || m.Type == typeRecovered {
			m.status = l.status
			l.told = append(l.told, m)
			l.times = append(l.times, time.Now())
			return l.status, ""
		}
		return 200, `{"user":"u1","data":{"a":1}}`
	})
}

func (l *recorder) set(status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status = status
}

// take returns what has been told, and forgets it.
func (l *recorder) take() ([]*message, []time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	told, times := l.told, l.times
	l.told, l.times = nil, nil
	return told, times
}

// attached returns a queue with one backend, within a bubble.
func attached(l *recorder) (*Queue, *Handler) {
	q := new(Queue)
	b := New(Options{URL: "http://backend/realtime", Transport: l.transport()}, q)
	q.Use(b)
	return q, b
}

// someDisconnect returns the message that a socket is gone.
func someDisconnect(id string, hold time.Duration) *disconnect {
	d := newDisconnect(nil, realtime.Peer{}, &disconnectData{
		Socket:    disconnectSocket{ID: id, ConnectedAt: time.Now().UTC().Format(timeFormat)},
		State:     make(map[string]json.RawMessage),
		Reason:    reason.TransportClose,
		Initiator: "network",
	})
	d.hold = hold
	return d
}

// TestDisconnect is told what there is to say.
func TestDisconnect(t *testing.T) {
	for why, initiator := range map[string]string{
		reason.ClientDisconnect: "client", reason.ParseError: "client",
		reason.ServerDisconnect: "server", reason.ForcedClose: "server", reason.Expired: "server",
		reason.TransportClose: "network", reason.TransportError: "network", reason.PingTimeout: "network",
		reason.Limit: "limit", reason.SlowConsumer: "limit", reason.ShuttingDown: "drain",
	} {
		told := make(chan *message, 1)
		w := serve(t, Options{}, func(m *message) (int, string) {
			if m.Type == typeDisconnect || m.Type == typeRecovered {
				told <- m
			}
			return 200, `{"user":"u1","data":{"a":1}}`
		})
		c := w.connect()
		c.socket.HandleDisconnect(why)
		m := <-told
		checkSchema(t, "disconnect-request", m.body)
		for _, part := range []string{`"reason":"` + why + `"`, `"initiator":"` + initiator + `"`, `"state":{"a":1}`, `"user":"u1"`, `"user_connections_left":0`} {
			if !bytes.Contains(m.body, []byte(part)) {
				t.Errorf("%s\nhas no %s", m.body, part)
			}
		}
	}
}

// TestAbandoned: a client that the backend has let in, and who does not get in.
func TestAbandoned(t *testing.T) {
	told := make(chan *message, 1)
	w := serve(t, Options{}, func(m *message) (int, string) {
		if m.Type == typeDisconnect || m.Type == typeRecovered {
			told <- m
		}
		return 200, `{"user":"u1","data":{"a":1}}`
	})
	identity, err := w.hub.Namespace("/").Authenticate(t.Context(), w.handshake())
	if err != nil {
		t.Fatal(err)
	}
	identity.Discard()
	m := <-told
	checkSchema(t, "disconnect-request", m.body)
	if !bytes.Contains(m.body, []byte(`"state":{"a":1}`)) || !bytes.Contains(m.body, []byte(`"user":"u1"`)) {
		t.Errorf("told %s", m.body)
	}
}

func TestQueueRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &recorder{status: 503}
		q, b := attached(l)
		q.add(someDisconnect("s1", 0))
		time.Sleep(5 * time.Minute)
		l.set(204)
		time.Sleep(2 * time.Minute)
		told, times := l.take()
		if len(told) < 7 || len(told) > 16 {
			t.Errorf("told %d times in 5 minutes", len(told))
		}
		for i, m := range told {
			if m.Attempt != i+1 || m.header.Get("Webhook-Id") != told[0].header.Get("Webhook-Id") {
				t.Errorf("attempt %d is number %d of %s", i+1, m.Attempt, m.header.Get("Webhook-Id"))
			}
			if i > 0 && times[i].Sub(times[i-1]) > lastRetry {
				t.Errorf("attempt %d is %v after the one before", i+1, times[i].Sub(times[i-1]))
			}
		}
		// And given up, some time.
		l.set(500)
		q.add(someDisconnect("s2", 0))
		time.Sleep(time.Hour)
		told, times = l.take()
		if took := times[len(times)-1].Sub(times[0]); took > giveUpAfter || took < giveUpAfter-2*lastRetry {
			t.Errorf("given up after %v and %d attempts", took, len(told))
		}
		if lost := q.Lost(); lost != 1 {
			t.Errorf("%d are lost, want 1", lost)
		}
		q.Leave(t.Context(), b)
	})
}

// TestQueueFinal: what the backend would never take is not told again.
func TestQueueFinal(t *testing.T) {
	for status, attempts := range map[int]int{400: 1, 401: 1, 404: 1, 410: 1, 422: 1, 302: 3, 408: 3, 425: 3, 429: 3, 500: 3, 503: 3} {
		synctest.Test(t, func(t *testing.T) {
			l := &recorder{status: status}
			q, b := attached(l)
			q.add(someDisconnect("s1", 0))
			for range 2 { // until two more attempts can have been made
				time.Sleep(firstRetry)
				time.Sleep(firstRetry)
			}
			l.set(204)
			time.Sleep(time.Hour)
			told, _ := l.take()
			if attempts == 1 && len(told) != 1 || attempts > 1 && (len(told) < attempts || told[len(told)-1].status != 204) {
				t.Errorf("answered with %d it was told %d times", status, len(told))
			}
			if q.Lost() != 0 {
				t.Errorf("%d are lost", q.Lost())
			}
			q.Leave(t.Context(), b)
		})
	}
}

// TestQueueRetryAfter: a backend is not asked again before it wants to be, up to a
// bound.
func TestQueueRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{"90": 90 * time.Second, "3600": maxRetryAfter} {
		synctest.Test(t, func(t *testing.T) {
			var times []time.Time
			q := new(Queue)
			b := New(Options{URL: "http://backend/realtime", Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				times = append(times, time.Now())
				if len(times) == 1 {
					return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {text}}, Body: http.NoBody}, nil
				}
				return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody}, nil
			})}, q)
			q.Use(b)
			q.add(someDisconnect("s1", 0))
			time.Sleep(time.Hour)
			synctest.Wait()
			if len(times) != 2 || times[1].Sub(times[0]) < want || times[1].Sub(times[0]) > want+want/10+time.Second {
				t.Errorf("Retry-After %s: asked at %v", text, times)
			}
			q.Leave(t.Context(), b)
		})
	}
}

// TestQueueHolds: who comes back in time has not been away.
func TestQueueHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &recorder{status: 204}
		q, b := attached(l)
		q.add(someDisconnect("back", time.Minute))
		q.add(someDisconnect("gone", time.Minute))
		q.add(someDisconnect("at once", 0))
		time.Sleep(30 * time.Second)
		if told, _ := l.take(); len(told) != 1 || told[0].Data.Socket.ID != "at once" {
			t.Errorf("%d are told of while their clients may come back", len(told))
		}
		q.cancel("back")
		q.cancel("stranger")
		time.Sleep(time.Minute)
		if told, _ := l.take(); len(told) != 1 || told[0].Data.Socket.ID != "gone" {
			t.Errorf("%d are told of afterwards", len(told))
		}
		q.Leave(t.Context(), b)
	})
}

// TestQueueFlushes: the last backend learns what waits, also of those whose
// clients might have come back.
func TestQueueFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &recorder{status: 204}
		q, b := attached(l)
		for i := range 100 {
			q.add(someDisconnect(strconv.Itoa(i), time.Hour))
		}
		second := New(Options{URL: "http://backend/realtime", Transport: l.transport()}, q)
		q.Use(second)
		q.Leave(t.Context(), b)
		synctest.Wait()
		if told, _ := l.take(); len(told) != 0 {
			t.Errorf("%d are told of although there is another backend", len(told))
		}
		q.Leave(t.Context(), second)
		if told, _ := l.take(); len(told) != 100 || q.Lost() != 0 {
			t.Errorf("%d are told of, and %d lost", len(told), q.Lost())
		}
		// A backend that takes none does not hold an exit for long.
		l.set(500)
		third := New(Options{URL: "http://backend/realtime", Transport: l.transport()}, q)
		q.Use(third)
		q.add(someDisconnect("lost", 0))
		began := time.Now()
		q.Leave(t.Context(), third)
		if took := time.Since(began); took > flushTime+time.Second || q.Lost() != 1 {
			t.Errorf("%d lost after %v", q.Lost(), took)
		}
	})
}

// TestQueueGoesBack: the newest backend is left, as of a configuration that cannot start,
// and the one before it is used again.
func TestQueueGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, failed := &recorder{status: 204}, &recorder{status: 503}
		q, b := attached(l)
		second := New(Options{URL: "http://backend/realtime", Transport: failed.transport()}, q)
		q.Use(second)
		q.add(someDisconnect("refused", 0))
		q.add(someDisconnect("held", time.Minute))
		synctest.Wait()
		q.Use(b)
		q.Leave(t.Context(), second)
		if told, _ := failed.take(); len(told) != 1 {
			t.Errorf("the newest is told %d times", len(told))
		}
		time.Sleep(2 * time.Minute)
		if told, _ := l.take(); len(told) != 2 {
			t.Errorf("the one before it is told of %d", len(told))
		}
		if told, _ := failed.take(); len(told) != 0 {
			t.Errorf("after that, the newest is told %d times", len(told))
		}
		q.Leave(t.Context(), b)
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &recorder{status: 204}
		q, b := attached(l)
		for i := range maxWaiting + 10 {
			q.add(someDisconnect(strconv.Itoa(i), time.Hour))
		}
		if lost := q.Lost(); lost != 10 {
			t.Errorf("%d are lost, want 10", lost)
		}
		q.Leave(t.Context(), b)
		if told, _ := l.take(); len(told) != maxWaiting {
			t.Errorf("%d are told of", len(told))
		}
	})
}

// TestConnectionsLeft counts when it is said, at each attempt, and not before.
func TestConnectionsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told []string
		status := 204
		set := func(s int) {
			mu.Lock()
			defer mu.Unlock()
			status = s
		}
		w := local(t, Options{}, func(m *message) (int, string) {
			if m.Type != typeDisconnect {
				return 200, `{"user":"u1"}`
			}
			checkSchema(t, "disconnect-request", m.body)
			mu.Lock()
			defer mu.Unlock()
			_, left, _ := strings.Cut(string(m.body), `"user_connections_left":`)
			told = append(told, fmt.Sprint(m.Attempt, " ", strings.TrimRight(left, "}")))
			return status, ""
		})
		connect := func(session string) *client {
			h, c := w.handshake(), new(client)
			h.Session = session
			if _, err := w.hub.Namespace("/").Connect(t.Context(), h, c); err != nil {
				t.Fatal(err)
			}
			return c
		}
		first, second := connect("1"), connect("2")
		first.socket.HandleDisconnect(reason.TransportClose)
		synctest.Wait()
		set(503)
		second.socket.HandleDisconnect(reason.TransportClose)
		synctest.Wait()
		for i := range 11 {
			connect(fmt.Sprint("again ", i))
		}
		set(204)
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []string{"1 1", "1 0", "2 11"}; !slices.Equal(told, want) {
			t.Errorf("it was told %q, want %q", told, want)
		}
	})
}
