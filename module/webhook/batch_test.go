package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A wire is a transport whose requests a test answers.
type wire struct{ requests chan *sent }

// A sent is a request on a wire.
type sent struct {
	t     *testing.T
	r     *http.Request
	text  []byte
	Type  string
	Event string // of a message that is alone
	// Messages are those of a batch.
	Messages []struct {
		ID      string
		Type    string
		Attempt int
		Data    struct {
			Socket struct{ ID string }
			Event  string
		}
	}
	begin func(status int, header http.Header) io.Writer
	body  io.Writer
	ended chan error
}

// Stream implements Streamer.
func (w *wire) Stream(r *http.Request, begin func(status int, header http.Header) io.Writer) error {
	s := &sent{r: r, begin: begin, ended: make(chan error, 1)}
	s.text, _ = io.ReadAll(r.Body)
	var alone struct{ Data struct{ Event string } }
	if err := errors.Join(json.Unmarshal(s.text, s), json.Unmarshal(s.text, &alone)); err != nil {
		return err
	}
	s.Event = alone.Data.Event
	w.requests <- s
	select {
	case err := <-s.ended:
		return err
	case <-r.Context().Done():
		return context.Cause(r.Context())
	}
}

// RoundTrip implements http.RoundTripper.
func (*wire) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.ErrUnsupported }

// answers begins the answer.
func (s *sent) answers(status int, header ...string) *sent {
	h := make(http.Header)
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	s.body = s.begin(status, h)
	return s
}

// streams begins an answer in lines.
func (s *sent) streams(more ...string) *sent {
	return s.answers(200, append([]string{"Content-Type", "application/x-ndjson"}, more...)...)
}

// writes writes some of the answer. The ids in it are written #0, #1 and so on.
func (s *sent) writes(texts ...string) *sent {
	for _, text := range texts {
		for i, m := range s.Messages {
			text = strings.ReplaceAll(text, fmt.Sprint("#", i), m.ID)
		}
		_, _ = io.WriteString(s.body, text)
	}
	synctest.Wait()
	return s
}

// ends ends the answer.
func (s *sent) ends(err error) {
	s.ended <- err
	synctest.Wait()
}

// acks answers a message that is alone.
func (s *sent) acks(ack string) { s.answers(200).writes(`{"ack":[` + ack + `]}`).ends(nil) }

// line returns the line of a message.
func line(i int, status int, body string) string {
	return fmt.Sprintf(`{"id":"#%d","status":%d,"body":%s}`, i, status, body) + "\n"
}

// acked returns the line that acks a message with its number.
func acked(i int) string { return line(i, 200, fmt.Sprintf(`{"ack":[%d]}`, i)) }

// names returns the names of the events that a batch has.
func (s *sent) names() (names []string) {
	for _, m := range s.Messages {
		names = append(names, m.Data.Event)
	}
	return names
}

// A batchWorld is a world whose backend knows batches, within a bubble.
type batchWorld struct {
	*world
	wire *wire
	logs *observer.ObservedLogs
}

func inBatches(t *testing.T, o Options, test func(t *testing.T, w *batchWorld)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		wire := &wire{make(chan *sent, 1000)}
		o.URL, o.Transport, o.Logger, o.NoConnects = "http://backend/realtime", wire, zap.New(core), true
		if o.Batch == 0 {
			o.Batch = DefaultBatch
		}
		test(t, &batchWorld{newWorld(t, o), wire, logs})
	})
}

// send has a new client send an event, whose ack the result gets.
func (w *batchWorld) send(event string) chan string { return w.sendBy(w.connect(), event) }

func (w *batchWorld) sendBy(c *client, event string) chan string {
	w.t.Helper()
	ack := make(chan string, 1)
	c.socket.HandleEvent(w.t.Context(), event, nil, func(_ *realtime.Batch, args ...realtime.Arg) error {
		ack <- string(realtime.AppendInlineArgs(nil, args))
		return nil
	})
	synctest.Wait()
	return ack
}

// next returns the next request. It must have been sent by now.
func (w *batchWorld) next() *sent {
	w.t.Helper()
	synctest.Wait()
	select {
	case s := <-w.wire.requests:
		s.t = w.t.(*testing.T)
		return s
	default:
		w.t.Fatal("no request has been sent")
		return nil
	}
}

// none checks that no request has been sent.
func (w *batchWorld) none() {
	w.t.Helper()
	synctest.Wait()
	if n := len(w.wire.requests); n > 0 {
		w.t.Fatalf("%d requests have been sent", n)
	}
}

// batch returns a batch of n events that are called "0", "1" and so on, and what they
// are acked.
func (w *batchWorld) batch(n int) (*sent, []chan string) {
	w.t.Helper()
	w.send("first")
	acks := make([]chan string, n)
	for i := range acks {
		acks[i] = w.send(strconv.Itoa(i))
	}
	w.next().acks("")
	return w.next(), acks
}

// is checks what has been acked.
func (w *batchWorld) is(ack chan string, want string) {
	w.t.Helper()
	synctest.Wait()
	got := "nothing"
	select {
	case got = <-ack:
	default:
	}
	if !strings.Contains(got, want) {
		w.t.Errorf("the ack is %s, want %s", got, want)
	}
}

const (
	nothing     = "nothing"
	unavailable = "backend_unavailable"
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

// TestLines: each message is answered as soon as its line comes, in any order, however the
// text is cut. From the first line on, the next batch may go.
func TestLines(t *testing.T) {
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		s, acks := w.batch(4)
		w.send("next")
		w.send("next")
		w.none()
		s.streams().writes("\ufeff" + acked(2) + acked(3)[:20])
		w.is(acks[2], "[2]")
		w.is(acks[3], nothing)
		if more := w.next(); len(more.Messages) != 2 {
			t.Errorf("it sends %s", more.text)
		}
		s.writes(acked(3)[20:]+"\r\n\n", acked(0))
		w.is(acks[3], "[3]")
		w.is(acks[0], "[0]")
		w.is(acks[1], nothing)
		s.writes(strings.TrimSpace(acked(1)))
		w.is(acks[1], nothing)
		s.ends(nil)
		w.is(acks[1], "[1]")
	})
}

// TestLineStatus: a line means what an answer of its own would mean.
func TestLineStatus(t *testing.T) {
	for body, want := range map[string]string{
		`"status":200,"body":{"ack":["ok"]}`:                     `["ok"]`,
		`"body":{"ack":["ok"]}`:                                  `["ok"]`,
		`"status":"200","body":{"ack":["ok"]},"more":1`:          `["ok"]`,
		`"status":204`:                                           `[]`,
		`"status":204,"body":null`:                               `[]`,
		`"status":422,"body":{"error":{"code":"no_stock"}}`:      `no_stock`,
		`"status":403`:                                           `forbidden`,
		`"status":200,"body":{"error":{"code":"no_stock"}}`:      `no_stock`,
		`"status":302`:                                           `must not be a redirect`,
		`"status":503,"body":{}`:                                 unavailable,
		`"status":200,"body":{"ack":{}}`:                         `ack must be an array`,
		`"status":200,"body":"x"`:                                `must be an object`,
		`"status":7`:                                             `status must be a number from 200 to 599`,
		`"status":"good"`:                                        `status must be a number from 200 to 599`,
		`"status":200,"body":{"ack":["` + "\xff" + `"]}`:         unavailable,
		`"status":200,"body":{"ack":["a"]},"body":{"ack":["b"]}`: `["b"]`,
	} {
		t.Run(body, func(t *testing.T) {
			inBatches(t, Options{}, func(_ *testing.T, w *batchWorld) {
				s, acks := w.batch(2)
				s.streams().writes(`{"id":"#0",`+body+"}\n", acked(1)).ends(nil)
				w.is(acks[0], want)
				w.is(acks[1], "[1]")
			})
		})
	}
}

// TestMissingLines: what has no line has an unknown outcome, however the answer ends.
func TestMissingLines(t *testing.T) {
	broken := errors.New("connection reset")
	for name, end := range map[string]func(s *sent){
		"left out":     func(s *sent) { s.ends(nil) },
		"broken":       func(s *sent) { s.ends(broken) },
		"in mid-line":  func(s *sent) { s.writes(acked(1)[:30]).ends(broken) },
		"cut off":      func(s *sent) { s.writes(acked(1)[:30]).ends(nil) },
		"unknown line": func(s *sent) { s.writes(`{"id":"?","status":200}` + "\n").ends(nil) },
		"no JSON":      func(s *sent) { s.writes("Fatal error: out of memory\n").ends(nil) },
	} {
		for _, retry := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", retry: ", retry), func(t *testing.T) {
				inBatches(t, Options{RetryUnknown: retry}, func(t *testing.T, w *batchWorld) {
					s, acks := w.batch(3)
					end(s.streams().writes(acked(0), acked(2)))
					w.is(acks[0], "[0]")
					w.is(acks[2], "[2]")
					if !retry {
						w.is(acks[1], unavailable)
						return
					}
					w.is(acks[1], nothing)
					time.Sleep(firstWait)
					again := w.next()
					if !strings.Contains(string(again.text), `"attempt":2`) || again.r.Header.Get("Webhook-Id") != s.Messages[1].ID {
						t.Errorf("it sends %s as %s, want %s", again.text, again.r.Header.Get("Webhook-Id"), s.Messages[1].ID)
					}
					again.acks(`"again"`)
					w.is(acks[1], `["again"]`)
				})
			})
		}
	}
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

// TestWholeAnswers: an answer that is not good, or that is not understood as a whole, is that
// of each message without a line.
func TestWholeAnswers(t *testing.T) {
	for _, tt := range []struct {
		status      int
		media, body string
		want        string // of the first message; the second one is left out where there are results
		other       string
	}{
		{400, "", ``, "bad_request", "bad_request"},
		{422, "application/json", `{"error":{"code":"no"}}`, `"no"`, `"no"`},
		{404, "text/html", `<html>`, "not_found", "not_found"},
		{302, "", ``, "backend_bad_answer", "backend_bad_answer"},
		{503, "application/x-ndjson", acked(0), unavailable, unavailable},
		{204, "", ``, "does the backend know batches?", "backend_bad_answer"},
		{200, "application/json", `{"ack":[1]}`, "does the backend know batches?", "backend_bad_answer"},
		{200, "text/html", `<html>`, "must be application/x-ndjson, or JSON", "backend_bad_answer"},
		{200, "text/plain", acked(0) + acked(1), "must be application/x-ndjson, or JSON", "backend_bad_answer"},
		{200, "application/json", `{"results":7}`, "results must be an array", "backend_bad_answer"},
		{200, "application/json", `{"results":[` + acked(0) + `]}`, "[0]", unavailable},
		{200, "", ` {"results":[` + acked(1) + `,7,` + acked(0) + `]}`, "[0]", "[1]"},
		{200, "application/json", `{"results":[]}`, unavailable, unavailable},
		{200, "application/x-ndjson; charset=utf-8", acked(0), "[0]", unavailable},
		{200, "application/jsonl", acked(0), "[0]", unavailable},
	} {
		t.Run(fmt.Sprint(tt.status, " ", tt.media, " ", tt.body), func(t *testing.T) {
			inBatches(t, Options{}, func(_ *testing.T, w *batchWorld) {
				s, acks := w.batch(2)
				s.answers(tt.status, "Content-Type", tt.media).writes(tt.body).ends(nil)
				w.is(acks[0], tt.want)
				w.is(acks[1], tt.other)
			})
		})
	}
}

// TestLongLine: no more of a line is kept than an answer can have.
func TestLongLine(t *testing.T) {
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		s, acks := w.batch(2)
		s.streams().writes(acked(0), `{"id":"#1","body":{"ack":["`)
		part := strings.Repeat("x", 1<<20)
		var err error
		for n := 0; err == nil; n += len(part) {
			if _, err = io.WriteString(s.body, part); n > maxLine {
				t.Fatal("it takes more")
			}
		}
		s.ends(err)
		w.is(acks[0], "[0]")
		w.is(acks[1], "has a line of more than")
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

// TestAnswerPanics: if what follows from one line fails badly, the others are not affected.
func TestAnswerPanics(t *testing.T) {
	inBatches(t, Options{}, func(_ *testing.T, w *batchWorld) {
		w.send("first")
		c := w.connect()
		c.socket.HandleEvent(w.t.Context(), "0", nil, func(*realtime.Batch, ...realtime.Arg) error { panic("by the ack") })
		ack := w.send("1")
		w.next().acks("")
		w.next().streams().writes(acked(0), acked(1)).ends(nil)
		w.is(ack, "[1]")
		again := w.sendBy(c, "again")
		w.next().acks("2")
		w.is(again, "[2]")
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

// TestEndlessAnswer: an answer that goes on after its last line is ended.
func TestEndlessAnswer(t *testing.T) {
	inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
		s, acks := w.batch(2)
		s.streams().writes(acked(0), acked(1))
		w.is(acks[0], "[0]")
		waiting := w.send("e")
		time.Sleep(onTheWay)
		w.next().acks("1")
		w.is(waiting, "[1]")
		time.Sleep(endTime)
		synctest.Wait()
		if b := w.backend.batches; b.running > b.idle {
			t.Errorf("%d batches are on their way", b.running-b.idle)
		}
		if n := w.logs.FilterField(zap.String("what", "it goes on after the last line")).Len(); n != 1 {
			t.Errorf("%d lines about it in the log", n)
		}
	})
}

// TestOddLines: lines that belong to no message, or come twice, are left out, and logged.
func TestOddLines(t *testing.T) {
	for text, why := range map[string]string{
		`{"id":"msg_?","status":200}`: "the batch has no message with this id",
		`{"status":200}`:              "the batch has no message with this id",
		`[1]`:                         "it is no JSON object",
		`oops`:                        "it is no JSON object",
		`{"id":"#0"}`:                 "the message has an answer already",
	} {
		inBatches(t, Options{}, func(t *testing.T, w *batchWorld) {
			s, acks := w.batch(2)
			s.streams().writes(acked(0), text+"\n", acked(1)).ends(nil)
			w.is(acks[0], "[0]")
			w.is(acks[1], "[1]")
			lines := w.logs.FilterMessage("a line of the answer to a batch is left out").All()
			if len(lines) != 1 || lines[0].ContextMap()["why"] != why {
				t.Errorf("%s: it logs %v", text, lines)
			}
		})
	}
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

// FuzzBatchAnswer: whatever the answer to a batch is, and however it is cut, each message gets
// one outcome, the same one.
func FuzzBatchAnswer(f *testing.F) {
	for _, text := range []string{
		`{"id":"msg_0","status":200,"body":{"ack":[1]}}` + "\n" + `{"id":"msg_1"}`, `{"id":"msg_0"}` + "\n" + `{"id":"msg_0","status":500}` + "\r\n\n", `{"results":[{"id":"msg_1"},7]}`,
		`{"results":{"0":{"id":"msg_1"}}}`, "oops\n[]\n{}\n", "", "\ufeff{\"id\":\"msg_0\",\"status\":\"404\"}", `{"id":"msg_1","status":1e9,"body":"x"}` + "\n", "\xff\n",
	} {
		f.Add(text, 3, true)
		f.Add(text, 20, false)
	}
	h := New(Options{URL: "http://backend/realtime", Batch: DefaultBatch}, new(Queue))
	f.Fuzz(func(t *testing.T, text string, cut int, lines bool) {
		outcomesOf := func(parts ...string) string {
			all := make([]*batched, 2)
			for i := range all {
				all[i] = &batched{request: &request{id: fmt.Sprint("msg_", i), kind: typeEvent}, asker: make(outcomes, 1)}
			}
			b := newBatch(new(gathering), all, new(Meter))
			defer b.cancel()
			a := &batchAnswer{batches: h.batches, batch: b}
			media := "application/json"
			if lines {
				media = "application/x-ndjson"
			}
			w := a.begin(200, http.Header{"Content-Type": {media}})
			var err error
			for _, part := range parts {
				if _, err = io.WriteString(w, part); err != nil {
					break
				}
			}
			a.end(err)
			var got strings.Builder
			for _, m := range all {
				o := <-m.asker.(outcomes)
				if o.err != nil {
					fmt.Fprintln(&got, o.err)
					continue
				}
				fmt.Fprintf(&got, "%d %q\n", o.reply.status, o.reply.body)
				o.reply.release()
			}
			if !b.settled() {
				t.Error("it is not settled")
			}
			return got.String()
		}
		cut = min(max(0, cut), len(text))
		if whole, parts := outcomesOf(text), outcomesOf(text[:cut], text[cut:]); whole != parts {
			t.Errorf("%q becomes\n%s, and cut at %d\n%s", text, whole, cut, parts)
		}
	})
}
