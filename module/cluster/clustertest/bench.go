package clustertest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// Bench measures brokers, which open makes as it does for [Run]. "one at a time" is the time from
// Publish to receive at the other broker. "many at once" publishes as fast as that is accepted.
// Besides the usual figures, there is the CPU time of this process for each envelope.
func Bench(b *testing.B, open func(t testing.TB, n int) []cluster.Broker) {
	b.Run("one at a time", func(b *testing.B) {
		publish, received := between(b, open)
		times := make([]time.Duration, 0, 1<<16)
		b.ResetTimer()
		cpu := cpuTime()
		for b.Loop() {
			began := time.Now()
			publish()
			<-received
			times = append(times, time.Since(began))
		}
		b.ReportMetric(float64(cpuTime()-cpu)/float64(len(times)), "cpu-ns/op")
		slices.Sort(times)
		b.ReportMetric(float64(times[len(times)/2]), "p50-ns")
		b.ReportMetric(float64(times[len(times)*99/100]), "p99-ns")
	})
	b.Run("many at once", func(b *testing.B) {
		publish, received := between(b, open)
		b.ReportAllocs()
		b.ResetTimer()
		cpu := cpuTime()
		for i := range b.N {
			publish()
			if i >= window {
				<-received
			}
		}
		for range min(b.N, window) {
			<-received
		}
		b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
	})
}

// window is how many envelopes are under way at once.
const window = 500

// between makes two brokers. Publish publishes 200 bytes through the first one, and each envelope
// that the second one receives gives a token.
func between(b *testing.B, open func(t testing.TB, n int) []cluster.Broker) (publish func(), received <-chan struct{}) {
	brokers := open(b, 2)
	for _, broker := range brokers {
		b.Cleanup(func() { _ = broker.Close() })
	}
	tokens := make(chan struct{}, 2*window)
	if _, err := brokers[1].Subscribe(b.Context(), "bench", func(e cluster.Envelope) {
		if e.Gap {
			b.Errorf("a gap in %s", e.Topic)
		}
		tokens <- struct{}{}
	}); err != nil {
		b.Fatal(err)
	}
	e := cluster.Envelope{Node: "a-node", Topic: "bench", Payload: number(0, 200)}
	return func() {
		if err := brokers[0].Publish(context.Background(), e); err != nil {
			b.Fatal(err)
		}
	}, tokens
}
