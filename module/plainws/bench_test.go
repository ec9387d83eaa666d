package plainws

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// BenchmarkFanOut sends an event to clients over real connections. emit-ns/recipient is the time
// that the publisher waits. The rest is the time of the clients, and of writing on other
// goroutines.
func BenchmarkFanOut(b *testing.B) {
	const members, window = 200, 10
	for _, secure := range []bool{false, true} {
		name := map[bool]string{false: "plain", true: "TLS"}[secure]
		b.Run(name, func(b *testing.B) {
			hub, err := realtime.NewHub(realtime.Options{})
			if err != nil {
				b.Fatal(err)
			}
			endpoint := realtime.NewEndpoint("test", hub, func() (*realtime.Policy, func()) { return new(realtime.Policy), func() {} })
			o := quiet.WithDefaults()
			server := NewServer(endpoint, JSON, func() *Options { return o })
			s := httptest.NewUnstartedServer(server)
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			dialer := *websocket.DefaultDialer
			if secure {
				s.StartTLS()
				dialer.TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
				dialer.TLSClientConfig.NextProtos = []string{"http/1.1"}
			} else {
				s.Start()
			}
			var received atomic.Int64
			got := make(chan struct{}, members*window)
			for range members {
				ws, _, err := dialer.Dial("ws"+strings.TrimPrefix(s.URL, "http"), nil)
				if err != nil {
					b.Fatal(err)
				}
				defer ws.Close()
				go func() {
					for {
						if _, _, err := ws.NextReader(); err != nil {
							return
						}
						received.Add(1)
						got <- struct{}{}
					}
				}()
				<-got // the client is connected
			}
			payload := realtime.String(strings.Repeat("x", 64))
			broadcast := hub.Namespace("/").To()
			var emitting time.Duration
			b.ReportAllocs()
			sent := 0
			for b.Loop() {
				start := time.Now()
				if err := broadcast.Emit(context.Background(), "message", payload); err != nil {
					b.Fatal(err)
				}
				emitting += time.Since(start)
				if sent++; sent%window == 0 {
					for range members * window {
						<-got
					}
				}
			}
			for range members * (sent % window) {
				<-got
			}
			b.ReportMetric(float64(emitting.Nanoseconds())/float64(sent)/members, "emit-ns/recipient")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sent)/members, "ns/recipient")
			_ = server.Close(context.Background(), 0)
			s.Close()
			_ = hub.Close()
		})
	}
}
