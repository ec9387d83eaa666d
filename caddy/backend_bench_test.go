package caddy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// BenchmarkBackend measures the time from an event to its ack, by a backend that does nothing. For
// comparison it measures the same request through a bare reverse_proxy.
func BenchmarkBackend(b *testing.B) {
	asked := make(chan []byte, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		select {
		case asked <- body:
		default:
		}
		_, _ = io.WriteString(w, `{"ack":[{"ok":true}]}`)
	}))
	defer backend.Close()
	port, bare := testcaddy.FreePort(b), testcaddy.FreePort(b)
	if err := caddy.Load(config(b, fmt.Sprintf(`http://127.0.0.1:%d {
	realtime {
		backend %s/realtime {
			secret whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
		}
	}
}
http://127.0.0.1:%d {
	reverse_proxy %s
}`, port, backend.URL, bare, strings.TrimPrefix(backend.URL, "http://"))), true); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = caddy.Stop() }()

	event := func(b *testing.B) func() { return connectAsker(b, port) }
	ask := event(b)
	for len(asked) > 0 {
		<-asked // the connect
	}
	ask()
	body := <-asked // the event's request, which the other ways send, too

	// post returns a function that makes the request, over a connection of its own.
	post := func(address string) func(b *testing.B) func() {
		return func(b *testing.B) func() {
			transport := new(http.Transport)
			b.Cleanup(transport.CloseIdleConnections)
			return func() {
				r, err := http.NewRequest(http.MethodPost, address, bytes.NewReader(body))
				if err != nil {
					b.Error(err)
				}
				a, err := transport.RoundTrip(r)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, a.Body)
				_ = a.Body.Close()
			}
		}
	}
	ways := []struct {
		name string
		open func(b *testing.B) func()
	}{
		{"event", event},
		{"reverse_proxy", post(fmt.Sprintf("http://127.0.0.1:%d/realtime", bare))},
		{"direct", post(backend.URL + "/realtime")},
	}
	// The ways take turns, so that other load on the machine affects all of them alike. The results
	// are medians in microseconds, and multiples of reverse_proxy's.
	b.Run("one", func(b *testing.B) {
		took := make([][]time.Duration, len(ways))
		var all []func()
		for _, way := range ways {
			all = append(all, way.open(b))
		}
		for b.Loop() {
			for i, do := range all {
				start := time.Now()
				do()
				took[i] = append(took[i], time.Since(start))
			}
		}
		medians := make([]float64, len(ways))
		for i, way := range ways {
			slices.Sort(took[i])
			medians[i] = float64(took[i][len(took[i])/2].Nanoseconds()) / 1000
			b.ReportMetric(medians[i], way.name+"-µs")
		}
		b.ReportMetric(medians[0]/medians[1], "×")
	})
	for _, way := range ways {
		b.Run("parallel/"+way.name, func(b *testing.B) {
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				do := way.open(b)
				for pb.Next() {
					do()
				}
			})
		})
	}
}
