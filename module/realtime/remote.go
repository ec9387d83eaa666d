package realtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// remoteBroadcast is a broadcast as the nodes of a cluster tell it one another.
type remoteBroadcast struct {
	Namespace string      `json:"namespace"`
	Rooms     []string    `json:"rooms,omitempty"`
	Users     []string    `json:"users,omitempty"`
	Except    []string    `json:"except,omitempty"`
	Volatile  bool        `json:"volatile,omitempty"`
	Event     string      `json:"event"`
	Args      []remoteArg `json:"args"`

	// Attachments are there once, however many arguments use them.
	Attachments Attachments `json:"attachments,omitempty"`
}

type remoteArg struct {
	JSON   json.RawMessage `json:"json"`
	Binary []int           `json:"binary,omitempty"` // which of the attachments
}

func newRemoteBroadcast(m *Message, to *audience) remoteBroadcast {
	remote := remoteBroadcast{
		Namespace: m.Namespace,
		Rooms:     to.rooms,
		Users:     to.users,
		Except:    to.except,
		Volatile:  m.Volatile,
		Event:     m.Event,
		Args:      make([]remoteArg, len(m.Args)),

		Attachments: CollectAttachments(m.Args),
	}
	for i, arg := range m.Args {
		remote.Args[i].JSON = arg.JSON
		for _, part := range arg.Binary {
			remote.Args[i].Binary = append(remote.Args[i].Binary, remote.Attachments.Index(part))
		}
	}
	return remote
}

func (h *Hub) topic() string { return "broadcast/" + h.name }

// publish passes a broadcast on to the other nodes.
func (h *Hub) publish(ctx context.Context, b Broadcast, m *Message) error {
	if h.broker == nil || h.alone() {
		return nil
	}
	var payload bytes.Buffer
	encoder := json.NewEncoder(&payload)
	encoder.SetEscapeHTML(false) // arguments are passed on as they are
	if err := encoder.Encode(newRemoteBroadcast(m, &b.to)); err != nil {
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
	if !utf8.Valid(e.Payload) { // as text, it would end the connection of everyone who gets it
		h.warnNoBroadcast(e, errors.New("it is not in UTF-8"))
		return
	}
	var remote remoteBroadcast
	if err := json.Unmarshal(e.Payload, &remote); err != nil || remote.Namespace == "" {
		h.warnNoBroadcast(e, err)
		return
	}
	h.mu.RLock()
	n := h.namespaces[remote.Namespace]
	h.mu.RUnlock()
	if n == nil {
		return // nobody of it is here
	}
	m, err := remote.message(n)
	if err != nil {
		h.warnNoBroadcast(e, err)
		return
	}
	_ = Broadcast{namespace: n, to: remote.audience()}.deliver(m, nil) // a hub that has ended has nobody to deliver to
}

func (h *Hub) warnNoBroadcast(e cluster.Envelope, err error) {
	h.logger.Warn("broker sent what is no broadcast", zap.String("node", e.Node), zap.Error(err))
}

func (r *remoteBroadcast) audience() audience { return audience{r.Rooms, r.Users, r.Except} }

// message returns the event, in a namespace, if it makes sense.
func (r *remoteBroadcast) message(n *Namespace) (*Message, error) {
	args := make([]Arg, len(r.Args))
	for i, arg := range r.Args {
		if len(arg.JSON) == 0 {
			return nil, errors.New("an argument has no value")
		}
		args[i].JSON = arg.JSON
		for _, n := range arg.Binary {
			if n < 0 || n >= len(r.Attachments) {
				return nil, errors.New("an attachment is missing")
			}
			args[i].Binary = append(args[i].Binary, r.Attachments[n])
		}
	}
	m, err := n.newMessage(r.Event, args)
	if err != nil {
		return nil, err
	}
	m.Volatile = r.Volatile
	return m, nil
}
