package plainws

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A realServer is a server on TCP, perhaps over TLS.
type realServer struct {
	*Server
	hub    *realtime.Hub
	http   *httptest.Server
	dialer websocket.Dialer
}

func listen(b *testing.B, secure bool, options Options) *realServer {
	b.Helper()
	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		b.Fatal(err)
	}
	endpoint := realtime.NewEndpoint("test", hub, func() (*realtime.Policy, func()) { return new(realtime.Policy), func() {} })
	o := options.WithDefaults()
	s := &realServer{Server: NewServer(endpoint, JSON, func() *Options { return o }), hub: hub, dialer: *websocket.DefaultDialer}
	s.http = httptest.NewUnstartedServer(s.Server)
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		s.http.StartTLS()
		s.dialer.TLSClientConfig = s.http.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		s.dialer.TLSClientConfig.NextProtos = []string{"http/1.1"}
	} else {
		s.http.Start()
	}
	return s
}

// dial returns a client that is connected.
func (s *realServer) dial(b *testing.B) *websocket.Conn {
	b.Helper()
	ws, _, err := s.dialer.Dial("ws"+strings.TrimPrefix(s.http.URL, "http"), nil)
	if err == nil {
		_, _, err = ws.ReadMessage()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ws.Close() })
	return ws
}

func (s *realServer) close() {
	_ = s.Close(context.Background(), 0)
	s.http.Close()
	_ = s.hub.Close()
}

// transports says which of them use TLS.
var transports = map[string]bool{"plain": false, "TLS": true}

// BenchmarkFanOut sends an event to clients over real connections. emit-ns/recipient is the time
// that the publisher waits. The rest is the time of the clients, and of writing on other
// goroutines.
func BenchmarkFanOut(b *testing.B) {
	const members, window = 200, 10
	for name, secure := range transports {
		b.Run(name, func(b *testing.B) {
			s := listen(b, secure, quiet)
			got := make(chan struct{}, members*window)
			for range members {
				ws := s.dial(b)
				go func() {
					for {
						if _, _, err := ws.NextReader(); err != nil {
							return
						}
						got <- struct{}{}
					}
				}()
			}
			payload := realtime.String(strings.Repeat("x", 64))
			broadcast := s.hub.Namespace("/").To()
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
			s.close()
		})
	}
}

// BenchmarkStalled broadcasts to members that read, in turn without others and together with some
// that have stopped reading. It reports how long a delivery to one that reads takes, in both
// cases.
func BenchmarkStalled(b *testing.B) {
	const members, stalled = 200, 10
	for name, secure := range transports {
		b.Run(name, func(b *testing.B) {
			o := quiet
			o.MaxQueue = 256 << 20 // nobody is too slow
			s := listen(b, secure, o)
			ns := s.hub.Namespace("/")
			var sent atomic.Int64 // when the broadcast was, in nanoseconds
			latencies := make(chan int64, members)
			for range members {
				ws := s.dial(b)
				go func() {
					for {
						if _, _, err := ws.NextReader(); err != nil {
							return
						}
						latencies <- time.Now().UnixNano() - sent.Load()
					}
				}()
			}
			for _, socket := range ns.Sockets() {
				socket.Join("without", "with")
			}
			for range stalled {
				s.dial(b)
			}
			for _, socket := range ns.Sockets() {
				if len(socket.Rooms()) == 0 {
					socket.Join("with", "stalled")
				}
			}
			large := realtime.String(strings.Repeat("x", 1<<20))
			for range 16 { // more than the kernel takes
				if err := ns.To("stalled").Emit(context.Background(), "message", large); err != nil {
					b.Fatal(err)
				}
			}

			rooms := []string{"without", "with"}
			taken := make(map[string][]int64)
			payload := realtime.String(strings.Repeat("x", 64))
			for i := 0; b.Loop(); i++ {
				for _, room := range []string{rooms[i%2], rooms[1-i%2]} {
					sent.Store(time.Now().UnixNano())
					if err := ns.To(room).Emit(context.Background(), "message", payload); err != nil {
						b.Fatal(err)
					}
					for range members {
						taken[room] = append(taken[room], <-latencies)
					}
				}
			}
			for _, room := range rooms {
				slices.Sort(taken[room])
				for _, percent := range []int{50, 99} {
					at := taken[room][len(taken[room])*percent/100]
					b.ReportMetric(float64(at)/1000, fmt.Sprintf("p%d-µs-%s", percent, room))
				}
			}
			if _, waiting := s.Queued(); waiting != stalled {
				b.Errorf("%d of %d clients are stalled", waiting, stalled)
			}
			s.close()
		})
	}
}
