package caddy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// BenchmarkBatches measures what an acked event costs by way of a backend that does nothing, with
// and without batches: CPU-µs are those of the client, Caddy and the backend together.
func BenchmarkBatches(b *testing.B) {
	for _, more := range []string{"", "batch"} {
		for _, clients := range []int{1, 5, 25, 100} {
			b.Run(fmt.Sprintf("%s/%d", map[string]string{"": "alone", "batch": "batch"}[more], clients), func(b *testing.B) {
				benchmarkBatches(b, more, clients)
			})
		}
	}
}

func benchmarkBatches(b *testing.B, more string, clients int) {
	var mu sync.Mutex
	requests := 0
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		requests++
		mu.Unlock()
		if !bytes.HasPrefix(body, []byte(`{"v":1,"type":"batch"`)) {
			_, _ = io.WriteString(w, `{"ack":[{"ok":true}]}`)
			return
		}
		var batch struct{ Messages []struct{ ID string } }
		if err := json.Unmarshal(body, &batch); err != nil {
			b.Error(err)
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		for _, m := range batch.Messages {
			_, _ = io.WriteString(w, `{"id":"`+m.ID+`","status":200,"body":{"ack":[{"ok":true}]}}`+"\n")
		}
	}))
	defer backend.Close()
	port := testcaddy.FreePort(b)
	if err := caddy.Load(config(b, fmt.Sprintf(`http://127.0.0.1:%d {
	realtime {
		backend %s/realtime {
			secret whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
			notify off
			%s
		}
	}
}`, port, backend.URL, more)), true); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = caddy.Stop() }()
	var all []func()
	for range clients {
		all = append(all, connectAsker(b, port))
	}
	left := make(chan struct{}, b.N)
	for range b.N {
		left <- struct{}{}
	}
	close(left)
	requests = 0
	before := cpuTime()
	b.ReportAllocs()
	b.ResetTimer()
	var done sync.WaitGroup
	for _, ask := range all {
		done.Go(func() {
			for range left {
				ask()
			}
		})
	}
	done.Wait()
	b.StopTimer()
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "CPU-µs/op")
	b.ReportMetric(float64(b.N)/float64(requests), "events/request")
}

// cpuTime returns for how long this process has used a core.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
