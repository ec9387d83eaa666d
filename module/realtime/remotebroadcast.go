package realtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
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

// kindBroadcast is the kind of a broadcastMessage on the bus.
const kindBroadcast = "broadcast"

// A broadcastMessage is a broadcast as nodes publish it to one another.
type broadcastMessage struct {
	// ID tells a broadcast to rooms of several topics from others of the same node. There is a copy
	// in each of the topics.
	ID uint64 `json:"id,omitempty"`
	remoteBroadcast
}

// An outgoing is a broadcast that is to be published.
type outgoing struct {
	id     uint64 // of the broadcastMessage
	body   []byte
	topics []bus.Topic  // none if there is no other node
	bridge func() error // passes it on to the servers of the bridge; nil if it is not for them
}

// encode returns what is to be published of a broadcast; nil if nobody else is there.
func (h *Hub) encode(m *Message, to *target) (*outgoing, error) {
	bridge := h.bridgeBroadcast(m, to)
	if h.bus.Skip() {
		if bridge == nil {
			return nil, nil
		}
		return &outgoing{bridge: bridge}, nil
	}
	o := &outgoing{topics: to.topics(m.Namespace), bridge: bridge}
	message := broadcastMessage{remoteBroadcast: newRemoteBroadcast(m, to)}
	if len(o.topics) > 1 {
		message.ID = h.broadcasts.Add(1)
		o.id = message.ID
	}
	body := bytes.NewBuffer(make([]byte, 0, 256+m.textSize()+to.size()))
	if err := rawjson.Encode(body, message); err != nil {
		return nil, fmt.Errorf("encoding broadcast: %w", err)
	}
	o.body = body.Bytes()
	return o, nil
}

// publish queues a broadcast for the other nodes and the bridge. It does not wait. The error is
// ErrLocalOnly.
func (h *Hub) publish(o *outgoing, volatile bool) (err error) {
	if len(o.topics) > 0 {
		err = h.bus.Publish(kindBroadcast, o.body, volatile, o.topics...)
	}
	return o.passOn(err)
}

// passOn queues a broadcast for the bridge. It returns ErrLocalOnly if that fails, or if err says that
// the other nodes do not get it.
func (o *outgoing) passOn(err error) error {
	if o.bridge != nil && o.bridge() != nil || err != nil {
		return ErrLocalOnly
	}
	return nil
}

// publishStamped is publish for an event that is about to be recorded.
func (h *Hub) publishStamped(o *outgoing) (*origin, error) {
	stamps, err := h.bus.PublishStamped(kindBroadcast, o.body, false, o.topics...)
	err = o.passOn(err)
	if len(stamps) == 0 {
		return nil, err
	}
	from := &origin{publisher: publisher{h.node, stamps[0].Incarnation}, id: o.id, numbers: make([]topicNumber, len(stamps))}
	for i, stamp := range stamps {
		from.numbers[i] = topicNumber{stamp.Topic, stamp.Number}
	}
	return from, err
}

// receive takes a broadcast of another node from the bus. The broker is not trusted: the error says
// what is not valid.
func (h *Hub) receive(received bus.Message) error {
	if !utf8.Valid(received.Body) { // it would break the connection of every client that gets it as text
		return errNotUTF8
	}
	var message broadcastMessage
	if err := json.Unmarshal(received.Body, &message); err != nil {
		return err
	}
	err := h.deliverRemote(&received, &message)
	if _, beyond := errors.AsType[*LimitError](err); beyond {
		// The other node has wider limits, and its clients have got it. Those of this node have
		// missed it, and must not recover as though they had not.
		h.reportGap("one exceeds this node's limits", zap.String("node", received.Node), zap.Error(err))
		return nil
	}
	return err
}

// deliverRemote delivers a broadcast of another node to the sockets of this one.
func (h *Hub) deliverRemote(received *bus.Message, message *broadcastMessage) error {
	if message.Namespace == "" {
		return errNoNamespace
	}
	n := h.find(message.Namespace)
	if n == nil {
		return nil // it has no sockets here
	}
	m, err := message.message(n.newMessage)
	if err != nil {
		return err
	}
	b := Broadcast{namespace: n, to: message.target(), origin: &origin{
		publisher: publisher{received.Node, received.Incarnation},
		id:        message.ID,
		numbers:   []topicNumber{{received.Topic, received.Number}},
	}}
	if message.ID != 0 {
		topics := b.to.topics(n.name)
		b.to = b.to.part(n.name, received.Topic)
		if b.to.everyone() {
			return errors.New("its topic is not one of its rooms")
		}
		others := slices.DeleteFunc(topics, func(t bus.Topic) bool { return t == received.Topic || !h.bus.Receives(t) })
		b.copies = h.copies.take(copyKey{b.origin.publisher, message.ID}, received.Topic, others)
	}
	_, _ = b.deliver(m, nil, nil) // an error means that the hub is sealed
	return nil
}

var errNoNamespace = errors.New("it has no namespace")

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
