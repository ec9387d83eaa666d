package realtime

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// remoteBroadcast is a broadcast as the nodes of a cluster tell it one another.
type remoteBroadcast struct {
	Namespace string      `json:"namespace"`
	Rooms     []string    `json:"rooms,omitempty"`
	Except    []string    `json:"except,omitempty"`
	Volatile  bool        `json:"volatile,omitempty"`
	Event     string      `json:"event"`
	Args      []remoteArg `json:"args"`
}

type remoteArg struct {
	JSON   json.RawMessage `json:"json"`
	Binary [][]byte        `json:"binary,omitempty"`
}

func (h *Hub) topic() string { return "broadcast/" + h.name }

// publish passes a broadcast on to the other nodes.
func (h *Hub) publish(ctx context.Context, b Broadcast, m *Message) error {
	if h.broker == nil || h.alone() {
		return nil
	}
	remote := remoteBroadcast{
		Namespace: m.Namespace,
		Rooms:     b.rooms,
		Except:    b.except,
		Volatile:  m.Volatile,
		Event:     m.Event,
		Args:      make([]remoteArg, len(m.Args)),
	}
	for i, arg := range m.Args {
		remote.Args[i] = remoteArg(arg)
	}
	var payload bytes.Buffer
	encoder := json.NewEncoder(&payload)
	encoder.SetEscapeHTML(false) // arguments are passed on as they are
	if err := encoder.Encode(remote); err != nil {
		return fmt.Errorf("encoding broadcast: %w", err)
	}
	if err := h.broker.Publish(ctx, cluster.Envelope{Node: h.node, Topic: h.topic(), Payload: payload.Bytes()}); err != nil {
		return fmt.Errorf("publishing broadcast: %w", err)
	}
	return nil
}

// alone reports whether the broker knows that no other node listens.
func (h *Hub) alone() bool {
	audience, ok := h.broker.(cluster.Audience)
	return ok && audience.Listeners(h.topic()) <= 1
}

// receive delivers what another node has broadcast. Brokers are not trusted: a
// message that makes no sense is dropped, and said to be.
func (h *Hub) receive(e cluster.Envelope) {
	switch {
	case e.Gap:
		h.logger.Warn("broadcasts of other nodes may be missing: the broker could not keep up")
		return
	case e.Node == h.node:
		return
	}
	var remote remoteBroadcast
	if err := json.Unmarshal(e.Payload, &remote); err != nil || remote.Namespace == "" {
		h.logger.Warn("broker sent what is no broadcast", zap.String("node", e.Node), zap.Error(err))
		return
	}
	h.mu.RLock()
	n := h.namespaces[remote.Namespace]
	h.mu.RUnlock()
	if n == nil {
		return // nobody of it is here
	}
	args := make([]Arg, len(remote.Args))
	for i, arg := range remote.Args {
		if len(arg.JSON) == 0 {
			h.logger.Warn("broker sent what is no broadcast", zap.String("node", e.Node))
			return
		}
		args[i] = Arg(arg)
	}
	m, err := n.newMessage(remote.Event, args)
	if err != nil {
		h.logger.Warn("broker sent what is no broadcast", zap.String("node", e.Node), zap.Error(err))
		return
	}
	m.Volatile = remote.Volatile
	Broadcast{namespace: n, rooms: remote.Rooms, except: remote.Except}.deliver(m, nil)
}
