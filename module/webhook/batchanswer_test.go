package webhook

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

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
