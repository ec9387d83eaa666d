package realtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// A remoteBroadcast is a broadcast in the form in which nodes send it to one another.
type remoteBroadcast struct {
	Namespace string      `json:"namespace"`
	Rooms     []string    `json:"rooms,omitempty"`
	Users     []string    `json:"users,omitempty"`
	Except    []string    `json:"except,omitempty"`
	Volatile  bool        `json:"volatile,omitempty"`
	Event     string      `json:"event"`
	Args      []remoteArg `json:"args"`

	// Attachments has each binary part once, however many arguments use it.
	Attachments Attachments `json:"attachments,omitempty"`
}

type remoteArg struct {
	JSON   json.RawMessage `json:"json"`
	Binary []int           `json:"binary,omitempty"` // which of the attachments
}

func newRemoteBroadcast(m *Message, to *target) remoteBroadcast {
	args, attachments := newRemoteArgs(m.Args)
	return remoteBroadcast{
		Namespace: m.Namespace,
		Rooms:     to.rooms,
		Users:     to.users,
		Except:    to.except,
		Volatile:  m.Volatile,
		Event:     m.Event,
		Args:      args,

		Attachments: attachments,
	}
}

// newRemoteArgs returns arguments, and their binary parts apart from them.
func newRemoteArgs(args []Arg) ([]remoteArg, Attachments) {
	remote, attachments := make([]remoteArg, len(args)), CollectAttachments(args)
	for i, arg := range args {
		remote[i].JSON = arg.JSON
		for _, part := range arg.Binary {
			remote[i].Binary = append(remote[i].Binary, attachments.Index(part))
		}
	}
	return remote, attachments
}

// argsOf is the inverse of newRemoteArgs. The error says what is wrong with what another node has sent.
func argsOf(remote []remoteArg, attachments Attachments) ([]Arg, error) {
	args := make([]Arg, len(remote))
	for i, arg := range remote {
		if len(arg.JSON) == 0 {
			return nil, errors.New("an argument has no value")
		}
		args[i].JSON = arg.JSON
		for _, n := range arg.Binary {
			if n < 0 || n >= len(attachments) {
				return nil, errors.New("an attachment is missing")
			}
			args[i].Binary = append(args[i].Binary, attachments[n])
		}
	}
	return args, nil
}

// A header begins every message between nodes. The name of the node is in the cluster.Envelope.
type header struct {
	Version     int    `json:"v"`
	Kind        string `json:"kind"`
	Incarnation string `json:"incarnation"` // tells the process from earlier ones of the same node

	// Sequence numbers the messages of an incarnation, from 1. A number that is missing is a
	// message that is missing.
	Sequence uint64 `json:"seq,omitempty"`
	// Lost means that a broadcast without a number is missing before this message.
	Lost bool `json:"lost,omitempty"`
}

// messageVersion is the version of the format. Other versions are not read.
const messageVersion = 1

// The kinds of messages. Other kinds are ignored.
const (
	kindBroadcast = "broadcast"
	kindLost      = "lost" // says only that broadcasts were lost
)

// A remoteMessage is a header and, if Kind is kindBroadcast, a broadcast.
type remoteMessage struct {
	header
	remoteBroadcast
}

func (h *Hub) topic() string { return "broadcast/" + h.name }

// begin returns the JSON of a header, without its closing brace.
func (p *publisher) begin(kind string) []byte {
	payload, err := json.Marshal(header{Version: messageVersion, Kind: kind, Incarnation: p.incarnation})
	if err != nil {
		panic(err) // cannot happen: strings and a number
	}
	return payload[:len(payload)-len("}")]
}

// encode returns the payload of a broadcast without its end, which publish appends. It returns nil
// if no other node listens.
func (p *publisher) encode(m *Message, to *target) ([]byte, error) {
	if p == nil || p.isAlone() {
		return nil, nil
	}
	payload := bytes.NewBuffer(make([]byte, 0, 256+m.textSize()+to.size()))
	if err := rawjson.Encode(payload, remoteMessage{
		header{Version: messageVersion, Kind: kindBroadcast, Incarnation: p.incarnation},
		newRemoteBroadcast(m, to),
	}); err != nil {
		return nil, fmt.Errorf("encoding broadcast: %w", err)
	}
	return bytes.TrimSuffix(payload.Bytes(), []byte("}")), nil
}

// receive takes a message of another node from the broker, which calls it from one goroutine at a
// time. The broker is not trusted: an invalid message is dropped and logged.
func (h *Hub) receive(e cluster.Envelope) {
	switch {
	case e.Gap:
		clear(h.remoteNodes) // the next of each may have any number
		h.reportGap("the broker could not keep up")
		return
	case e.Node == h.node:
		return
	}
	if !utf8.Valid(e.Payload) { // it would break the connection of every client that gets it as text
		h.warnInvalid(e, errors.New("it is not UTF-8"))
		return
	}
	var remote remoteMessage
	if err := json.Unmarshal(e.Payload, &remote); err != nil || remote.Version == 0 || remote.Sequence == 0 {
		h.warnInvalid(e, err)
		return
	}
	if remote.Version != messageVersion {
		h.warnInvalid(e, fmt.Errorf("it has version %d, not %d", remote.Version, messageVersion))
		return
	}
	if fresh := h.track(e.Node, &remote.header); !fresh || remote.Kind != kindBroadcast {
		return
	}
	err := h.deliverRemote(&remote.remoteBroadcast)
	if _, beyond := errors.AsType[*LimitError](err); beyond {
		// The other node has wider limits, and its clients have got it. Those of this node have
		// missed it, and must not recover as though they had not.
		h.reportGap("one exceeds this node's limits", zap.String("node", e.Node), zap.Error(err))
	} else if err != nil {
		h.warnInvalid(e, err)
	}
}

// deliverRemote delivers a broadcast of another node to the sockets of this one.
func (h *Hub) deliverRemote(remote *remoteBroadcast) error {
	if remote.Namespace == "" {
		return errNoNamespace
	}
	n := h.find(remote.Namespace)
	if n == nil {
		return nil // it has no sockets here
	}
	m, err := remote.message(n.newMessage)
	if err != nil {
		return err
	}
	_, _ = Broadcast{namespace: n, to: remote.target()}.deliver(m, nil, nil) // an error means that the hub is sealed
	return nil
}

var errNoNamespace = errors.New("it has no namespace")

func (h *Hub) warnInvalid(e cluster.Envelope, err error) {
	h.logger.Warn("broker delivered an invalid broadcast", zap.String("node", e.Node), zap.Error(err))
}

func (r *remoteBroadcast) target() target { return target{r.Rooms, r.Users, r.Except} }

// message returns the message, which newMessage makes of its event and arguments, or an error if it
// is not valid.
func (r *remoteBroadcast) message(newMessage func(event string, args []Arg) (*Message, error)) (*Message, error) {
	args, err := argsOf(r.Args, r.Attachments)
	if err != nil {
		return nil, err
	}
	m, err := newMessage(r.Event, args)
	if err != nil {
		return nil, err
	}
	m.Volatile = r.Volatile
	return m, nil
}
