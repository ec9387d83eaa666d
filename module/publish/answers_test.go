package publish

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestIdempotency(t *testing.T) {
	a := serve(t, Options{}, realtime.Options{})
	c := a.connect("/", "u1")
	const body = `{"event":"e","everyone":true}`
	first := a.call("POST", "emit", body, "Idempotency-Key", "k1")
	for range 3 {
		if again := a.call("POST", "emit", body, "Idempotency-Key", "k1"); again.status != first.status || again.body != first.body {
			t.Errorf("again: %d %s, first %d %s", again.status, again.body, first.status, first.body)
		}
	}
	equal(t, "events", c.received(), []string{"e []"})
	a.refuses(a.call("POST", "emit", body+" ", "Idempotency-Key", "k1"), http.StatusUnprocessableEntity, "idempotency_mismatch", "another request")
	a.refuses(a.call("POST", "emit?ack=1s", body, "Idempotency-Key", "k1"), http.StatusUnprocessableEntity, "idempotency_mismatch", "another request")
	a.refuses(a.call("POST", "sockets/join", body, "Idempotency-Key", "k1"), http.StatusUnprocessableEntity, "idempotency_mismatch", "another request")
	if other := a.call("POST", "emit", body, "Idempotency-Key", "k2"); other.status != http.StatusAccepted || other.body == first.body {
		t.Errorf("another key: %d %s", other.status, other.body)
	}
	equal(t, "events", c.received(), []string{"e []"})

	// A failure is an answer, too, with its status.
	bad := a.call("POST", "emit", `{"event":""}`, "Idempotency-Key", "k3")
	again := a.call("POST", "emit", `{"event":""}`, "Idempotency-Key", "k3")
	a.refuses(again, http.StatusBadRequest, "bad_field", "event is empty")
	if again.body != bad.body {
		t.Errorf("again %s, first %s", again.body, bad.body)
	}
	for _, key := range []string{"", strings.Repeat("x", 256), "a b", "é"} {
		a.refuses(a.call("POST", "emit", body, "Idempotency-Key", key), http.StatusBadRequest, "bad_idempotency_key", "255")
	}
	// What only tells something is told anew.
	for range 2 {
		a.get("stats", nil)
	}
	if got := a.call("GET", "stats", "", "Idempotency-Key", "k1"); got.status != http.StatusOK {
		t.Errorf("a GET with a key: %d %s", got.status, got.body)
	}
}

// A request that is being done is not done again meanwhile.
func TestIdempotencyInFlight(t *testing.T) {
	a := serve(t, Options{}, realtime.Options{})
	c := a.connect("/", "u1")
	c.asked = make(chan uint64, 1)
	const body = `{"event":"question","everyone":true}`
	answers := make(chan reply)
	go func() { answers <- a.call("POST", "emit?ack=30s", body, "Idempotency-Key", "k") }()
	var number uint64
	select {
	case number = <-c.asked:
	case got := <-answers:
		t.Fatalf("answered %d %s", got.status, got.body)
	}
	b := &api{t: t, url: a.url, client: a.client, covered: make(map[string]bool)} // another caller
	b.refuses(b.call("POST", "emit?ack=30s", body, "Idempotency-Key", "k"), http.StatusConflict, "idempotency_in_flight", "later")
	c.socket.HandleAck(number, []realtime.Arg{realtime.String("yes")})
	first := <-answers
	if again := a.call("POST", "emit?ack=30s", body, "Idempotency-Key", "k"); again.body != first.body || !strings.Contains(first.body, `"args":["yes"]`) {
		t.Errorf("again %s, first %s", again.body, first.body)
	}
	equal(t, "events", c.received(), []string{"question []"})
}

// What a caller who broke off has missed it gets when it asks again.
func TestIdempotencyAfterBreak(t *testing.T) {
	a := serve(t, Options{}, realtime.Options{})
	c := a.connect("/", "u1")
	c.asked = make(chan uint64, 1)
	const body = `{"event":"question","everyone":true}`
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(gone, "POST", "/api/realtime/emit?ack=30s", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+testKey)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", "k")
	var first sync.WaitGroup
	first.Go(func() { a.handler.ServeHTTP(httptest.NewRecorder(), r) })
	number := <-c.asked
	time.Sleep(10 * time.Millisecond) // nobody tells that it does not give up
	c.socket.HandleAck(number, []realtime.Arg{realtime.String("yes")})
	first.Wait()
	if again := a.call("POST", "emit?ack=30s", body, "Idempotency-Key", "k"); !strings.Contains(again.body, `"args":["yes"]`) {
		t.Errorf("again: %d %s", again.status, again.body)
	}
	equal(t, "events", c.received(), []string{"question []"})
}

// A server that failed is asked again.
func TestIdempotencyAfterFailure(t *testing.T) {
	a := serve(t, Options{}, realtime.Options{Broker: brokenBroker{}})
	awaitBroken(t, a.hub)
	for range 2 {
		a.refuses(a.call("POST", "emit", `{"event":"e","everyone":true}`, "Idempotency-Key", "k"), http.StatusServiceUnavailable, "broker_unavailable", "other nodes")
	}
	if len(a.answers.byKey) != 0 || a.answers.bytes != 0 {
		t.Errorf("%d answers are kept", len(a.answers.byKey))
	}
	func() {
		defer func() { _ = recover() }()
		a.answers.once("panics", digest{}, func() (int, []byte) { panic("no answer") })
	}()
	if len(a.answers.byKey) != 0 {
		t.Error("a request whose call panicked is in flight for ever")
	}
}

func TestAnswersForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answers Answers
		calls := 0
		ask := func(key string, size int) {
			answers.once(key, digest{}, func() (int, []byte) {
				calls++
				return http.StatusOK, make([]byte, size)
			})
		}
		ask("old", 1)
		time.Sleep(AnswerLifetime - time.Second)
		ask("old", 1)
		if calls != 1 {
			t.Errorf("%d calls", calls)
		}
		time.Sleep(time.Second)
		ask("old", 1)
		if calls != 2 || len(answers.byKey) != 1 {
			t.Errorf("%d calls, %d answers", calls, len(answers.byKey))
		}

		for i := range MaxAnswers + 100 {
			ask(strconv.Itoa(i), 1)
		}
		if len(answers.byKey) != MaxAnswers || len(answers.done) != MaxAnswers {
			t.Errorf("%d answers", len(answers.byKey))
		}
		calls = 0
		ask(strconv.Itoa(MaxAnswers+99), 1)
		ask("0", 1)
		if calls != 1 {
			t.Errorf("%d calls: the newest is known, the oldest is not", calls)
		}

		for i := range 100 {
			ask(fmt.Sprint("large", i), 1<<20)
			if answers.bytes > MaxAnswerBytes {
				t.Fatalf("%d bytes", answers.bytes)
			}
		}
		ask("huge", 2*MaxAnswerBytes)
		calls = 0
		ask("huge", 2*MaxAnswerBytes)
		if calls != 0 || len(answers.done) != 1 {
			t.Errorf("%d calls, %d answers: the newest is kept, whatever it is", calls, len(answers.done))
		}
		ask("small", 1)
		time.Sleep(AnswerLifetime)
		answers.mu.Lock()
		defer answers.mu.Unlock()
		if answers.prune(); answers.byKey != nil || answers.bytes != 0 || len(answers.done) != 0 {
			t.Errorf("%d answers, %d bytes", len(answers.byKey), answers.bytes)
		}
	})
}
