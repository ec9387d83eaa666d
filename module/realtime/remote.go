package realtime

import (
	"bytes"
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

// An envelope is what one node tells the others. Its node is the cluster.Envelope's.
type envelope struct {
	Version     int    `json:"v"`
	Kind        string `json:"kind"`
	Incarnation string `json:"incarnation"` // of the node: a process

	// Sequence numbers what an incarnation has to say, from 1. Where a number is
	// missing, something is.
	Sequence uint64 `json:"seq,omitempty"`
	// Lost says that something that has no number is missing before this.
	Lost bool `json:"lost,omitempty"`
}

// envelopeVersion is that of the format. Another one is not read.
const envelopeVersion = 1

// The kinds of envelopes. One of another kind is none of this node's business.
const (
	kindBroadcast = "broadcast"
	kindLost      = "lost" // that, and nothing else
)

// remoteMessage is an envelope with a broadcast in it.
type remoteMessage struct {
	envelope
	remoteBroadcast
}

func (h *Hub) topic() string { return "broadcast/" + h.name }

// begin returns the beginning of an envelope that has nothing else in it.
func (p *publisher) begin(kind string) []byte {
	payload, err := json.Marshal(envelope{Version: envelopeVersion, Kind: kind, Incarnation: p.incarnation})
	if err != nil {
		panic(err) // strings and a number
	}
	return payload[:len(payload)-len("}")]
}

// encode returns the payload that passes a broadcast on, but for its end; nil
// where no other node listens.
func (p *publisher) encode(m *Message, to *audience) ([]byte, error) {
	if p == nil || p.alone() {
		return nil, nil
	}
	payload := bytes.NewBuffer(make([]byte, 0, 256+m.textSize()+to.size()))
	encoder := json.NewEncoder(payload)
	encoder.SetEscapeHTML(false) // arguments are passed on as they are
	if err := encoder.Encode(remoteMessage{
		envelope{Version: envelopeVersion, Kind: kindBroadcast, Incarnation: p.incarnation},
		newRemoteBroadcast(m, to),
	}); err != nil {
		return nil, fmt.Errorf("encoding broadcast: %w", err)
	}
	return bytes.TrimSuffix(payload.Bytes(), []byte("}\n")), nil
}

// receive takes what another node says. Brokers are not trusted: a message that
// makes no sense is dropped, and said to be. It is called by one goroutine at a
// time.
func (h *Hub) receive(e cluster.Envelope) {
	switch {
	case e.Gap:
		clear(h.origins) // the next of each may have any number
		h.interrupt("the broker could not keep up")
		return
	case e.Node == h.node:
		return
	}
	if !utf8.Valid(e.Payload) { // as text, it would end the connection of everyone who gets it
		h.warnNoBroadcast(e, errors.New("it is not in UTF-8"))
		return
	}
	var remote remoteMessage
	if err := json.Unmarshal(e.Payload, &remote); err != nil || remote.Version == 0 || remote.Sequence == 0 {
		h.warnNoBroadcast(e, err)
		return
	}
	if remote.Version != envelopeVersion {
		h.warnNoBroadcast(e, fmt.Errorf("it has version %d, and not %d", remote.Version, envelopeVersion))
		return
	}
	if fresh := h.follow(e.Node, &remote.envelope); !fresh || remote.Kind != kindBroadcast {
		return
	}
	err := h.repeat(&remote.remoteBroadcast)
	if _, beyond := errors.AsType[*LimitError](err); beyond {
		// It went to clients of the other node, whose limits are wider. Those of
		// this one will not get it, and must not take themselves for complete.
		h.interrupt("one exceeds this node's limits", zap.String("node", e.Node), zap.Error(err))
	} else if err != nil {
		h.warnNoBroadcast(e, err)
	}
}

// repeat delivers what another node has broadcast.
func (h *Hub) repeat(remote *remoteBroadcast) error {
	if remote.Namespace == "" {
		return errors.New("it has no namespace")
	}
	n := h.existing(remote.Namespace)
	if n == nil {
		return nil // nobody of it is here
	}
	m, err := remote.message(n.newMessage)
	if err != nil {
		return err
	}
	_ = Broadcast{namespace: n, to: remote.audience()}.deliver(m, nil, nil) // a hub that has ended has nobody to deliver to
	return nil
}

func (h *Hub) warnNoBroadcast(e cluster.Envelope, err error) {
	h.logger.Warn("broker sent what is no broadcast", zap.String("node", e.Node), zap.Error(err))
}

func (r *remoteBroadcast) audience() audience { return audience{r.Rooms, r.Users, r.Except} }

// message returns the event if it makes sense, also to the function that makes it
// of a name and arguments.
func (r *remoteBroadcast) message(of func(event string, args []Arg) (*Message, error)) (*Message, error) {
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
	m, err := of(r.Event, args)
	if err != nil {
		return nil, err
	}
	m.Volatile = r.Volatile
	return m, nil
}
