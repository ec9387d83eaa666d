package realtime_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A sink is a client that encodes what it gets and drops it.
type sink struct{ bytes int }

func (s *sink) SendConnect(*realtime.Socket) error { return nil }
func (s *sink) Disconnect(bool) error              { return nil }
func (*sink) Close(string)                         {}

func (s *sink) Deliver(m *realtime.Message, _ *realtime.Batch) error {
	s.bytes += len(m.Encoding("", encode).([]byte))
	return nil
}

func encode(m *realtime.Message) any { return append([]byte(m.Event), m.Args[0].JSON...) }

// A recoverableSink is a sink that can recover its socket.
type recoverableSink struct{ sink }

func (s *recoverableSink) SendRecovered(_ *realtime.Socket, missed []*realtime.Message) error {
	for _, m := range missed {
		_ = s.Deliver(m, nil)
	}
	return nil
}

func joinSink(b *testing.B, e *testEndpoint, rooms ...string) *realtime.Socket {
	b.Helper()
	s, err := e.Hub().Namespace("/").Connect(b.Context(), handshake(e), new(sink))
	if err != nil {
		b.Fatal(err)
	}
	s.Join(rooms...)
	return s
}

func BenchmarkBroadcast(b *testing.B) {
	const members = 1000
	e := open(hub(b, realtime.Options{}), realtime.Policy{})
	ns := e.Hub().Namespace("/")
	var first *realtime.Socket
	for i := range members {
		s := joinSink(b, e, "all", fmt.Sprint("half ", i%2), fmt.Sprint("tenth ", i%10))
		if i == 0 {
			first = s
		}
	}
	ctx, payload := context.Background(), arg(`{"text":"hello","at":1700000000}`)
	for name, broadcast := range map[string]realtime.Broadcast{
		"namespace":   ns.To(),
		"room":        ns.To("all"),
		"two rooms":   ns.To("half 0", "half 1"),
		"overlapping": ns.To("tenth 0", "tenth 2", "half 0", "all"),
		"from one":    first.To("all"),
	} {
		b.Run(fmt.Sprintf("%s/%d", name, members), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := broadcast.Emit(ctx, "message", payload); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/members, "ns/recipient")
		})
	}
}

// BenchmarkBroadcastRecovery is BenchmarkBroadcast with recovery.
func BenchmarkBroadcastRecovery(b *testing.B) {
	for name, recovery := range map[string]realtime.Recovery{"off": {}, "on": {Window: time.Minute}} {
		for _, members := range []int{1, 1000} {
			b.Run(fmt.Sprintf("%s/%d", name, members), func(b *testing.B) {
				e := open(hub(b, realtime.Options{Recovery: recovery}), realtime.Policy{})
				for range members {
					s, err := e.Hub().Namespace("/").Connect(b.Context(), handshake(e), new(recoverableSink))
					if err != nil {
						b.Fatal(err)
					}
					s.Join("all")
				}
				broadcast, payload := e.Hub().Namespace("/").To("all"), arg(`{"text":"hello","at":1700000000}`)
				b.ReportAllocs()
				for b.Loop() {
					if err := broadcast.Emit(context.Background(), "message", payload); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// A client that missed events recovers its socket.
func BenchmarkRecovery(b *testing.B) {
	for _, missed := range []int{0, 100, 10_000} {
		b.Run(fmt.Sprint(missed, " events"), func(b *testing.B) {
			e := open(hub(b, realtime.Options{Recovery: realtime.Recovery{Window: time.Hour, MaxEvents: 20_000}}), realtime.Policy{})
			p := &recoverableClient{e: e}
			_, _ = p.connect(0)
			_ = p.socket.Emit(b.Context(), "first")
			p.receive(1)
			for range missed {
				_ = e.Hub().Namespace("/").To().Emit(b.Context(), "message")
			}
			b.ReportAllocs()
			for b.Loop() {
				p.disconnect("transport close")
				if recovered, err := p.connect(0); err != nil || !recovered {
					b.Fatal(recovered, err)
				}
			}
		})
	}
}

// Goroutines broadcast to a room each, or all to one room.
func BenchmarkBroadcasts(b *testing.B) {
	for _, rooms := range []int{1, 16} {
		b.Run(fmt.Sprintf("%d rooms of 100", rooms), func(b *testing.B) {
			e := open(hub(b, realtime.Options{}), realtime.Policy{})
			for i := range rooms {
				for range 100 {
					s, err := e.Hub().Namespace("/").Connect(b.Context(), handshake(e), silentConn{})
					if err != nil {
						b.Fatal(err)
					}
					s.Join(strconv.Itoa(i))
				}
			}
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for i := 0; p.Next(); i++ {
					_ = e.Hub().Namespace("/").To(strconv.Itoa(i%rooms)).Emit(context.Background(), "message")
				}
			})
		})
	}
}

// A silentConn does nothing.
type silentConn struct{}

func (silentConn) SendConnect(*realtime.Socket) error               { return nil }
func (silentConn) Disconnect(bool) error                            { return nil }
func (silentConn) Close(string)                                     {}
func (silentConn) Deliver(*realtime.Message, *realtime.Batch) error { return nil }

func BenchmarkJoinLeave(b *testing.B) {
	for _, size := range []int{1, 1000} {
		b.Run(fmt.Sprintf("room of %d", size), func(b *testing.B) {
			e := open(hub(b, realtime.Options{}), realtime.Policy{})
			for range size - 1 {
				joinSink(b, e, "room")
			}
			s := joinSink(b, e)
			b.ReportAllocs()
			for b.Loop() {
				s.Join("room")
				s.Leave("room")
			}
		})
	}
}

func BenchmarkConnect(b *testing.B) {
	e := open(hub(b, realtime.Options{}), realtime.Policy{})
	b.ReportAllocs()
	for b.Loop() {
		joinSink(b, e, "room").HandleDisconnect("done")
	}
}

func BenchmarkGlob(b *testing.B) {
	globs := realtime.Globs{"/", "/tenant-*", "*:chat:*"}
	b.ReportAllocs()
	for b.Loop() {
		if !globs.Match("room:1234:chat:5678") {
			b.Fatal("no match")
		}
	}
}
