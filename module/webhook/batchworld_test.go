package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

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
