package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// instant is a transport to a backend that acks everything at once.
type instant struct{ requests, messages atomic.Int64 }

// Stream implements Streamer.
func (i *instant) Stream(r *http.Request, begin func(status int, header http.Header) io.Writer) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	i.requests.Add(1)
	if !bytes.HasPrefix(body, []byte(`{"v":1,"type":"batch"`)) {
		i.messages.Add(1)
		_, err = io.WriteString(begin(200, http.Header{"Content-Type": {"application/json"}}), `{"ack":[{"ok":true}]}`)
		return err
	}
	var batch struct{ Messages []struct{ ID string } }
	if err := json.Unmarshal(body, &batch); err != nil {
		return err
	}
	i.messages.Add(int64(len(batch.Messages)))
	var lines bytes.Buffer
	for _, m := range batch.Messages {
		fmt.Fprintf(&lines, `{"id":"%s","status":200,"body":{"ack":[{"ok":true}]}}`+"\n", m.ID)
	}
	_, err = begin(200, http.Header{"Content-Type": {"application/x-ndjson"}}).Write(lines.Bytes())
	return err
}

// RoundTrip implements http.RoundTripper.
func (*instant) RoundTrip(*http.Request) (*http.Response, error) { panic("it is streamed") }

// BenchmarkBatch measures what an acked event costs beside the exchange itself: alone, and in
// batches of several.
func BenchmarkBatch(b *testing.B) {
	for _, size := range []int{1, 5, 25, 100} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			backend := new(instant)
			h := New(Options{URL: "http://backend/realtime", Transport: backend, Batch: DefaultBatch}, new(Queue))
			data := json.RawMessage(`{"socket":{"id":"7vKyQ1cE","session":"Xq3nU0aB","node":"n1","namespace":"/","user":"u1","seq":42,"rooms":["org:o1"]},"state":{"userId":"u1"},"event":"order:create","args":[{"sku":"x"}],"wants_ack":true}`)
			peer := realtime.Peer{ClientIP: "203.0.113.7", Host: "rt.example.com", Secure: true}
			if size == 1 {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := h.send(b.Context(), newRequest(typeEvent, data, peer), 1); err != nil {
						b.Fatal(err)
					}
				}
				return
			}
			b.ReportAllocs()
			for range b.N / size {
				g := new(gathering)
				messages := make([]*batched, size)
				var done sync.WaitGroup
				for i := range messages {
					answer := make(outcomes, 1)
					messages[i] = &batched{request: newRequest(typeEvent, data, peer), attempt: 1, asker: answer}
					done.Go(func() { (<-answer).reply.release() })
				}
				h.batches.post(newBatch(g, messages, h.options.Meter))
				done.Wait()
			}
		})
	}
}
