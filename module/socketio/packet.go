package socketio

import (
	"encoding/json"
	"errors"
	"strconv"

	"github.com/caddy-realtime/caddy-realtime/module/internal/msgpack"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// packetType is what a packet is for, by the character that stands for it in
// the format of Socket.IO's default parser.
// https://socket.io/docs/v4/socket-io-protocol/#exchange-protocol
type packetType byte

// The packet types of Socket.IO 5.
const (
	typeConnect      packetType = '0'
	typeDisconnect   packetType = '1'
	typeEvent        packetType = '2'
	typeAck          packetType = '3'
	typeConnectError packetType = '4'
	typeBinaryEvent  packetType = '5' // in the default parser's format only, like the next
	typeBinaryAck    packetType = '6'
)

func (t packetType) binary() bool { return t == typeBinaryEvent || t == typeBinaryAck }

// plain returns the type of the same packet if it had no attachments.
func (t packetType) plain() packetType {
	switch t {
	case typeBinaryEvent:
		return typeEvent
	case typeBinaryAck:
		return typeAck
	}
	return t
}

// errPacket says that a message is not a Socket.IO packet.
var errPacket = errors.New("not a Socket.IO packet")

// maxNamespace is the length of the longest name of a namespace, in bytes: one
// may be remembered for as long as the hub lives.
const maxNamespace = 256

// A packet is a Socket.IO packet, in whichever format it is written.
type packet struct {
	kind      packetType // none of the binary ones
	namespace string
	id        string          // of an event or an ack: digits, "" for none
	data      json.RawMessage // of the others: an object, or nothing
	event     string          // of an event: its name
	args      []realtime.Arg  // of an event or an ack
	blank     bool            // an event or an ack that came without anything
}

// eventName returns the name of an event, from the first element of its data.
// A number is one, too.
func eventName(element json.RawMessage, l *realtime.Limits) (string, error) {
	// No character takes more than the six bytes of its escape.
	if len(element) > 6*l.EventName+len(`""`) {
		return "", tooLong(l)
	}
	name, ok := rawjson.Unquote(element)
	switch {
	case !ok && rawjson.Number(element):
		name = string(element)
	case !ok, realtime.Reserved(name):
		return "", errPacket // CVE-2023-32695, CVE-2024-38355
	}
	if len(name) > l.EventName {
		return "", tooLong(l)
	}
	return name, nil
}

func tooLong(l *realtime.Limits) error {
	return &realtime.LimitError{Name: "event_name", Max: int64(l.EventName)}
}

// limitOf returns the limit that data was found to exceed, or that it is none of
// a packet.
func limitOf(err error, l *realtime.Limits) error {
	switch err {
	case rawjson.ErrElements:
		return &realtime.LimitError{Name: "arguments", Max: int64(l.Arguments)}
	case rawjson.ErrDepth, msgpack.ErrDepth:
		return &realtime.LimitError{Name: "depth", Max: int64(l.Depth)}
	case msgpack.ErrParts:
		return &realtime.LimitError{Name: "attachments", Max: int64(l.Attachments)}
	}
	return errPacket
}

// eventPacket returns the packet that a message is sent as.
func eventPacket(m *realtime.Message) packet {
	p := packet{kind: typeEvent, namespace: m.Namespace, event: m.Event, args: m.ArgsWithOffset()}
	if m.Ack != 0 {
		p.id = strconv.FormatUint(m.Ack, 10)
	}
	return p
}
