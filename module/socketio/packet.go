package socketio

import (
	"encoding/json"
	"errors"
	"strconv"

	"github.com/caddy-realtime/caddy-realtime/module/internal/msgpack"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A packetType is the type of a packet, as the default parser's format writes it.
// https://socket.io/docs/v4/socket-io-protocol/#exchange-protocol
type packetType byte

// The packet types.
const (
	typeConnect      packetType = '0'
	typeDisconnect   packetType = '1'
	typeEvent        packetType = '2'
	typeAck          packetType = '3'
	typeConnectError packetType = '4'
	typeBinaryEvent  packetType = '5' // only in the default parser's format
	typeBinaryAck    packetType = '6' // likewise
)

func (t packetType) binary() bool { return t == typeBinaryEvent || t == typeBinaryAck }

// plain returns the type that the packet would have without attachments.
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

// maxNamespace is the maximum length of a namespace's name, in bytes. A name may be kept for as
// long as the hub lives.
const maxNamespace = 256

// A packet is a Socket.IO packet, whatever its format.
type packet struct {
	kind      packetType // not a binary one
	namespace string
	id        string          // of an event or an ack: digits, or ""
	data      json.RawMessage // of other packets: an object, or nil
	event     string          // the name of an event
	args      []realtime.Arg  // of an event or an ack
	blank     bool            // an event or an ack came without any data
	received  *receivedEvent  // has room for args; nil: it has none
}

// eventName returns the name of an event: the first element of its data, a string or a number.
func eventName(element json.RawMessage, l *realtime.Limits) (string, error) {
	// A character takes at most six bytes, which is the length of an escape.
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

// limitOf returns the error of data that could not be read: a *realtime.LimitError, or errPacket.
func limitOf(err error, l *realtime.Limits) error {
	switch {
	case errors.Is(err, rawjson.ErrElements):
		return &realtime.LimitError{Name: "arguments", Max: int64(l.Arguments)}
	case errors.Is(err, rawjson.ErrDepth), errors.Is(err, msgpack.ErrDepth):
		return &realtime.LimitError{Name: "depth", Max: int64(l.Depth)}
	case errors.Is(err, msgpack.ErrParts):
		return &realtime.LimitError{Name: "attachments", Max: int64(l.Attachments)}
	}
	return errPacket
}

// eventPacket returns the packet of a message.
func eventPacket(m *realtime.Message) packet {
	p := packet{kind: typeEvent, namespace: m.Namespace, event: m.Event, args: m.ArgsWithOffset()}
	if m.Ack != 0 {
		p.id = strconv.FormatUint(m.Ack, 10)
	}
	return p
}
