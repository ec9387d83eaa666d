package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// BenchmarkUnneeded takes the time of a message to a user that is on neither node: one publishes it,
// and the other receives it for nothing. Both are in this process, and the broker takes next to
// nothing.
func BenchmarkUnneeded(b *testing.B) {
	broker := membroker.New(membroker.Options{})
	h, err := realtime.NewHub(realtime.Options{Broker: broker.Peer(), BrokerQueue: 1 << 30})
	if err != nil {
		b.Fatal(errors.Join(err, broker.Close()))
	}
	defer func() { _ = h.Close() }()
	received := make(chan struct{}, window)
	other, err := realtime.NewHub(realtime.Options{Broker: &signals{broker, received}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if err := await(b.Context(), func() bool { return h.BrokerStats().Nodes == 2 }); err != nil {
		b.Fatal(err)
	}
	other.Namespace("/") // as though it had sockets there
	to, text := h.Namespace("/").To().ToUsers("user:100000"), realtime.String(strings.Repeat("x", 64))
	waiting := 0
	for b.Loop() {
		if waiting == window {
			<-received
			waiting--
		}
		if err := to.Emit(b.Context(), "message", text); err != nil {
			b.Fatal(err)
		}
		waiting++
	}
	for range waiting {
		<-received
	}
}

// window is how many messages are on their way at most.
const window = 1000

// signals tells of each broadcast that its node has handled.
type signals struct {
	cluster.Broker
	received chan<- struct{}
}

// Subscribe implements [cluster.Broker].
func (s *signals) Subscribe(ctx context.Context, topic string, receive func(cluster.Envelope)) (cluster.Subscription, error) {
	return s.Broker.Subscribe(ctx, topic, func(e cluster.Envelope) {
		receive(e)
		if bytes.Contains(e.Payload, []byte(`"kind":"broadcast"`)) {
			s.received <- struct{}{}
		}
	})
}
