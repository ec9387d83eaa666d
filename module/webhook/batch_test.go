package webhook

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// TestQuiet: a message that is alone is sent at once, as without batches.
func TestQuiet(t *testing.T) {
	inBatches(t, Options{}, func(_ *testing.T, w *batchWorld) {
		for range 3 {
			ack := w.send("e")
			s := w.next()
			if s.Type != typeEvent || s.Event != "e" {
				t.Errorf("it sends %s", s.text)
			}
			s.acks("1")
			w.is(ack, "[1]")
		}
		if n := len(w.backend.batches.sites); n > 0 {
			t.Errorf("it keeps %d sites", n)
		}
	})
}

// TestGathering: what comes while a request is on its way goes together in the next one.
func TestGathering(t *testing.T) {
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		s, acks := w.batch(3)
		checkSchema(t, "batch-request", s.text)
		if got := fmt.Sprint(s.Type, s.names()); got != "batch[0 1 2]" {
			t.Errorf("it sends %s", got)
		}
		if h := s.r.Header; h.Get("Webhook-Id") == s.Messages[0].ID || h.Get("X-Forwarded-Host") != "rt.example.com:8443" || h.Get("X-Forwarded-Proto") != "https" || h.Get("X-Forwarded-For") != "" {
			t.Errorf("the headers are %v", h)
		}
		s.streams().writes(acked(0), acked(1), acked(2)).ends(nil)
		for i, ack := range acks {
			w.is(ack, fmt.Sprintf("[%d]", i))
		}
		// Then one waits, and goes alone.
		a, b := w.send("a"), w.send("b")
		w.next().acks("1")
		if s := w.next(); s.Type != typeEvent {
			t.Errorf("it sends %s", s.text)
		} else {
			s.acks("2")
		}
		w.is(a, "[1]")
		w.is(b, "[2]")
		w.none()
	})
}

// TestOnTheWay: a request that takes longer than 5 ms does not keep others waiting.
func TestOnTheWay(t *testing.T) {
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		slow := w.send("slow")
		first := w.next()
		var acks []chan string
		var sent []*sent
		for range 2 {
			acks = append(acks, w.send("a"), w.send("b"))
			time.Sleep(onTheWay - time.Nanosecond)
			w.none()
			time.Sleep(time.Nanosecond)
			s := w.next()
			if len(s.Messages) != 2 {
				t.Errorf("it sends %s", s.text)
			}
			sent = append(sent, s)
		}
		time.Sleep(onTheWay)
		at := w.send("c") // at once
		w.next().acks("3")
		w.is(at, "[3]")
		for _, s := range slices.Backward(sent) {
			s.streams().writes(acked(1), acked(0)).ends(nil)
		}
		for i, ack := range acks {
			w.is(ack, fmt.Sprintf("[%d]", i%2))
		}
		w.is(slow, nothing)
		first.acks("4")
		w.is(slow, "[4]")
	})
}

// TestBatchNotSent: if nothing was sent, all messages are sent again, together if they wait
// together.
func TestBatchNotSent(t *testing.T) {
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		s, acks := w.batch(3)
		var ids []string
		for _, m := range s.Messages {
			ids = append(ids, m.ID)
		}
		s.ends(ErrNotSent)
		time.Sleep(2 * firstWait)
		for len(w.wire.requests) > 0 {
			s := w.next()
			if s.Type == typeEvent {
				ids = slices.DeleteFunc(ids, func(id string) bool { return id == s.r.Header.Get("Webhook-Id") })
				s.acks("7")
				continue
			}
			s.streams()
			for i, m := range s.Messages {
				if m.Attempt != 2 {
					t.Errorf("attempt %d", m.Attempt)
				}
				ids = slices.DeleteFunc(ids, func(id string) bool { return id == m.ID })
				s.writes(line(i, 200, `{"ack":[7]}`))
			}
			s.ends(nil)
		}
		for _, ack := range acks {
			w.is(ack, "[7]")
		}
		if len(ids) > 0 {
			t.Errorf("%q have not been sent again", ids)
		}
	})
}

// TestBatchIsFull: a batch has so many messages, and bytes, and goes at once when it has.
func TestBatchIsFull(t *testing.T) {
	inBatches(t, Options{Batch: 3}, func(t *testing.T, w *batchWorld) {
		w.send("first")
		w.next()
		for range 2 {
			for range 3 {
				w.none()
				w.send("e")
			}
			if s := w.next(); len(s.Messages) != 3 {
				t.Errorf("it sends %s", s.text)
			}
		}
	})
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		large := func(size int) {
			w.connect().socket.HandleEvent(t.Context(), "e", []realtime.Arg{realtime.String(strings.Repeat("x", size))}, nil)
		}
		large(10)
		w.next()
		large(400_000)
		large(400_000)
		w.none()
		large(400_000)
		if s := w.next(); len(s.Messages) != 2 || len(s.text) > maxBatchBytes {
			t.Errorf("it sends %d messages, %d bytes", len(s.Messages), len(s.text))
		}
		large(990_000)
		if s := w.next(); s.Type != typeEvent {
			t.Errorf("it sends a %s of %d bytes", s.Type, len(s.text))
		}
		time.Sleep(onTheWay)
		if s := w.next(); s.Type != typeEvent {
			t.Errorf("it sends a %s of %d bytes", s.Type, len(s.text))
		}
		w.none()
	})
}

// TestNoGoroutines: events that gather, or are in a batch, hold no goroutine.
func TestNoGoroutines(t *testing.T) {
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		w.send("first")
		w.next()
		before := runtime.NumGoroutine()
		for range 50 {
			w.send("e")
		}
		if more := runtime.NumGoroutine() - before; more > 0 {
			t.Errorf("50 events hold %d goroutines", more)
		}
		time.Sleep(onTheWay)
		if batch := w.next(); len(batch.Messages) != 50 {
			t.Errorf("it sends %s", batch.text)
		}
		if more := runtime.NumGoroutine() - before; more > 1 { // which sends it
			t.Errorf("50 events in a batch hold %d goroutines", more)
		}
	})
}

// TestGone: a message whose time is over before it could wait is not sent.
func TestGone(t *testing.T) {
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		m := &batched{request: &request{kind: typeEvent}, ctx: t.Context()}
		if _, left := w.backend.batches.leave(m, errTimeout); !left {
			t.Error("it has been answered")
		}
		w.backend.batches.gather(m)
		w.none()
		if n := len(w.backend.batches.sites); n > 0 {
			t.Errorf("%d sites are kept", n)
		}
		// One whose time ends while it waits, before anybody has noticed.
		w.send("first")
		s := w.next()
		ctx, cancel := context.WithCancel(t.Context())
		w.backend.batches.gather(&batched{request: &request{kind: typeEvent, peer: w.connect().socket.Peer()}, ctx: ctx})
		cancel()
		s.acks("1")
		w.none()
		if n := len(w.backend.batches.sites); n > 0 {
			t.Errorf("%d sites are kept", n)
		}
	})
}

// TestPlaces: a message keeps its slot until its own line has come. So slow events leave
// slots to others.
func TestPlaces(t *testing.T) {
	inBatches(t, Options{Concurrency: 16}, func(t *testing.T, w *batchWorld) {
		for range 30 {
			w.send("slow")
		}
		time.Sleep(onTheWay)
		w.next()
		s := w.next()
		n := 1 + len(s.Messages)
		w.none()
		if n < 8 || n > 12 {
			t.Errorf("of 16 slots, slow events have %d", n)
		}
		time.Sleep(onTheWay)
		quick := w.send("quick")
		w.next().acks("1")
		w.is(quick, "[1]")
		s.streams().writes(acked(0))
		if more := w.next(); more.Type != typeEvent || more.Event != "slow" {
			t.Errorf("a free slot sends %s", more.text)
		}
	})
}

// TestOneInFlightInBatches: the events of one socket go one after the other.
func TestOneInFlightInBatches(t *testing.T) {
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		w.send("first")
		c := w.connect()
		acks := []chan string{w.sendBy(c, "0"), w.sendBy(c, "1"), w.send("other")}
		w.next().acks("")
		s := w.next()
		if got := fmt.Sprint(s.names()); got != "[0 other]" {
			t.Errorf("it sends %s", got)
		}
		time.Sleep(onTheWay)
		w.none()
		s.streams().writes(acked(0))
		w.is(acks[0], "[0]")
		if s := w.next(); s.Event != "1" {
			t.Errorf("it sends %s", s.text)
		}
	})
}

// TestBatchTimeout: each message has its own time. When nobody waits any more, the request
// ends; what comes too late is left out silently.
func TestBatchTimeout(t *testing.T) {
	inBatches(t, Options{EventTimeout: time.Second}, func(t *testing.T, w *batchWorld) {
		s, acks := w.batch(3)
		s.streams().writes(acked(0))
		time.Sleep(700 * time.Millisecond)
		w.send("later")
		w.next() // for it was quiet
		later := w.send("later")
		time.Sleep(onTheWay)
		time.Sleep(600 * time.Millisecond)
		w.is(acks[0], "[0]")
		w.is(acks[1], unavailable)
		w.is(acks[2], unavailable)
		if s.r.Context().Err() == nil {
			t.Error("the request has not ended")
		}
		w.is(later, nothing)
		s.writes(acked(1))
		if n := w.logs.FilterMessage("a line of the answer to a batch is left out").Len(); n > 0 {
			t.Errorf("%d lines about it in the log", n)
		}
		time.Sleep(time.Second)
		w.is(later, unavailable)
	})
	// One that waits for a batch, and nothing of which was sent.
	inBatches(t, Options{EventTimeout: 4 * time.Millisecond}, func(t *testing.T, w *batchWorld) {
		w.send("first")
		w.next()
		w.is(w.send("e"), nothing)
		time.Sleep(5 * time.Millisecond)
		w.none()
		lines := w.logs.FilterMessage("backend is unavailable").All()
		if len(lines) == 0 {
			t.Fatal("nothing is logged")
		}
	})
}

// TestSites: a batch is about clients that used the same host and scheme.
func TestSites(t *testing.T) {
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		connect := func(host string) *client {
			h, c := w.handshake(), new(client)
			h.Host = host
			if _, err := w.hub.Namespace("/").Connect(t.Context(), h, c); err != nil {
				t.Fatal(err)
			}
			return c
		}
		for range 3 {
			w.sendBy(connect("a.example"), "a")
			w.sendBy(connect("b.example"), "b")
		}
		first, second := w.next(), w.next()
		if first.r.Header.Get("X-Forwarded-Host") != "a.example" || second.r.Header.Get("X-Forwarded-Host") != "b.example" {
			t.Errorf("it sends %v and %v", first.r.Header, second.r.Header)
		}
		w.none()
		second.acks("1")
		s := w.next()
		if got := fmt.Sprint(s.names(), s.r.Header.Get("X-Forwarded-Host")); got != "[b b]b.example" {
			t.Errorf("it sends %s", got)
		}
	})
}

// TestPauseOfBatches: while the backend wants nothing, nothing is sent.
func TestPauseOfBatches(t *testing.T) {
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		s, acks := w.batch(2)
		waiting := []chan string{w.send("a"), w.send("b")}
		s.streams("Retry-After", "2").writes(acked(0), acked(1)).ends(nil)
		w.is(acks[0], "[0]")
		waiting = append(waiting, w.send("c"))
		time.Sleep(2*time.Second - time.Millisecond)
		w.none()
		time.Sleep(time.Millisecond)
		for synctest.Wait(); len(w.wire.requests) > 0; synctest.Wait() {
			s := w.next()
			if s.Type == typeEvent {
				s.acks("1")
				continue
			}
			s.streams()
			for i := range s.Messages {
				s.writes(line(i, 200, `{"ack":[1]}`))
			}
			s.ends(nil)
		}
		for _, ack := range waiting {
			w.is(ack, "[1]")
		}
	})
}

// TestDisconnectsInBatches: disconnects go in batches, too, and each has its own retries.
func TestDisconnectsInBatches(t *testing.T) {
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		var clients []*client
		for range 4 {
			clients = append(clients, w.connect())
		}
		event := w.send("e")
		first := w.next()
		for _, c := range clients {
			c.socket.HandleDisconnect("transport close")
		}
		w.none()
		first.acks("1")
		w.is(event, "[1]")
		s := w.next()
		if len(s.Messages) != 4 || s.Messages[0].Type != typeDisconnect {
			t.Fatalf("it sends %s", s.text)
		}
		// The first is taken, the second refused; the third is told again, and so is the fourth.
		s.streams().writes(line(0, 200, "null"), line(1, 404, "{}"), line(2, 503, "null")).ends(nil)
		time.Sleep(firstRetry)
		told := make(map[string]int)
		for len(w.wire.requests) > 0 {
			s := w.next()
			if s.Type == typeDisconnect {
				told[s.r.Header.Get("Webhook-Id")]++
				s.answers(204).ends(nil)
				continue
			}
			s.streams()
			for i, m := range s.Messages {
				told[m.ID]++
				s.writes(line(i, 204, "null"))
			}
			s.ends(nil)
		}
		if len(told) != 2 || told[s.Messages[2].ID] != 1 || told[s.Messages[3].ID] != 1 {
			t.Errorf("of %s it tells again %v", s.text, told)
		}
		time.Sleep(time.Minute)
		w.none()
	})
}

// TestBatchesTogether: what is sent by lines that come together belongs to the same batch of
// writes, acks as well.
func TestBatchesTogether(t *testing.T) {
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		w.send("first")
		in := make([]*realtime.Batch, 3)
		for i := range in {
			w.connect().socket.HandleEvent(t.Context(), "e", nil, func(b *realtime.Batch, _ ...realtime.Arg) error {
				in[i] = b
				return nil
			})
			synctest.Wait()
		}
		w.next().acks("")
		s := w.next()
		s.streams().writes(acked(0)+acked(2), acked(1)).ends(nil)
		if in[0] == nil || in[0] != in[2] || in[1] == nil || in[1] == in[0] {
			t.Errorf("the batches are %p %p %p", in[0], in[1], in[2])
		}
	})
}

// TestBatchMeter: messages count by themselves, and so do batches.
func TestBatchMeter(t *testing.T) {
	meter := new(Meter)
	inBatches(t, Options{Meter: meter}, func(t *testing.T, w *batchWorld) {
		s, _ := w.batch(3)
		if n, _ := meter.Read(); n != 3 {
			t.Errorf("%d are in flight", n)
		}
		s.streams().writes(acked(0), line(1, 500, "{}"))
		if n, _ := meter.Read(); n != 1 {
			t.Errorf("%d are in flight", n)
		}
		s.ends(nil)
		n, kinds := meter.Read()
		if e, b := kinds[typeEvent], kinds[typeBatch]; n != 0 || e.Count != 4 || e.Failed != 2 || b.Count != 1 || b.Failed != 0 {
			t.Errorf("%d are in flight, and it counts %v", n, kinds)
		}
	})
}

// TestCloseWithBatches: the hub and the queue end while batches wait and are on their way.
func TestCloseWithBatches(t *testing.T) {
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		s, _ := w.batch(3)
		s.streams().writes(acked(0))
		waiting := w.send("waiting")
		w.next()
		w.send("waiting too")
		if err := w.hub.Close(); err != nil {
			t.Error(err)
		}
		w.queue.Leave(t.Context(), w.backend)
		w.is(waiting, unavailable)
		b := w.backend.batches
		if b.running > 0 || len(b.sites) > 0 {
			t.Errorf("%d batches are on their way, %d sites kept", b.running, len(b.sites))
		}
	})
}
