package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// sizes are how many bytes messages between nodes have: the node's name, the topic and the payload,
// without what Redis, NATS and TCP add.
type sizes struct {
	room      int // of 64 bytes to a room
	user      int // of 64 bytes to a user
	heartbeat int // of a node that has published nothing
}

// A sizingBroker notes the size of the first message of each kind that its node publishes, and that to
// all nodes apart from that to a room.
type sizingBroker struct {
	cluster.Broker
	mu    sync.Mutex
	sizes map[messageKind]int
}

type messageKind struct {
	kind string
	all  bool
}

// Publish implements [cluster.Broker].
func (b *sizingBroker) Publish(ctx context.Context, e cluster.Envelope) error {
	header, _, _ := bytes.Cut(e.Payload, []byte("\n"))
	var of struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(header, &of); err != nil {
		return fmt.Errorf("reading a message's kind: %w", err)
	}
	kind := messageKind{of.Kind, strings.HasSuffix(e.Topic, "/"+string(bus.All))}
	b.mu.Lock()
	if b.sizes[kind] == 0 {
		b.sizes[kind] = len(e.Node) + len(e.Topic) + len(e.Payload)
	}
	b.mu.Unlock()
	return b.Broker.Publish(ctx, e)
}

func (b *sizingBroker) size(kind string, all bool) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sizes[messageKind{kind, all}]
}

// nodeName has as many characters as the random names that nodes have by default.
const nodeName = "node-0000000000000000"

// measureSizes has two hubs publish to one another.
func measureSizes(ctx context.Context) (measured sizes, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("measuring messages: %w", err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	other := membroker.New(membroker.Options{})
	broker := &sizingBroker{Broker: other.Peer(), sizes: make(map[messageKind]int)}
	h, err := realtime.NewHub(realtime.Options{Broker: broker, Node: nodeName + "1"})
	if err != nil {
		return sizes{}, errors.Join(err, other.Close())
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	peer, err := realtime.NewHub(realtime.Options{Broker: other, Node: nodeName + "2"})
	if err != nil {
		return sizes{}, err
	}
	defer func() { err = errors.Join(err, peer.Close()) }()

	if err := await(ctx, func() bool { return h.BrokerStats().Nodes == 2 }); err != nil {
		return sizes{}, err
	}
	text, namespace := realtime.String(strings.Repeat("x", 64)), h.Namespace("/")
	for _, to := range []realtime.Broadcast{namespace.To("room:100000"), namespace.To().ToUsers("user:100000")} {
		if err := to.Emit(ctx, "message", text); err != nil {
			return sizes{}, err
		}
	}
	err = await(ctx, func() bool {
		measured = sizes{broker.size("broadcast", false), broker.size("broadcast", true), broker.size("heartbeat", true)}
		return measured.room > 0 && measured.user > 0 && measured.heartbeat > 0
	})
	return measured, err
}

// await waits until something holds. The broker does not say when.
func await(ctx context.Context, holds func() bool) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("two hubs do not hear each other")
		}
	}
	return nil
}
