package socketio

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/internal/msgpack"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// msgpackFormat is the format of socket.io-msgpack-parser: one binary message, the MessagePack of
// {type, data, nsp, id}. The binary packet types are not used: binary data stands in its place in
// the data.
//
// Every packet can be passed on in the default parser's format. So there are at most
// realtime.MaxAttachments binary parts, and dates become text.
type msgpackFormat struct{}

// open implements format.
func (msgpackFormat) open(m engineio.Packet, _ *realtime.Limits) (header, error) {
	if !m.Binary {
		return header{}, errPacket
	}
	h, err := parseMembers(m.Data)
	if err != nil {
		return header{}, errPacket
	}
	return h, nil
}

// read implements format.
func (msgpackFormat) read(h header, _ [][]byte, l *realtime.Limits) (p packet, err error) {
	p = packet{kind: h.kind, namespace: h.namespace, id: h.id}
	switch {
	case h.kind == typeEvent, h.kind == typeAck:
		err = p.unpackData(h.data, l)
	case h.kind == typeConnect && h.data != nil:
		p.data, err = unpackAuth(h.data, l)
	case h.data != nil: // a DISCONNECT has no data, and clients do not send a CONNECT_ERROR
		err = errPacket
	}
	return p, err
}

// parseMembers reads a message. It ignores members of other names, such as the options that
// clients send.
func parseMembers(message []byte) (h header, err error) {
	count, rest, err := msgpack.ReadMap(message)
	if err != nil {
		return header{}, err
	}
	for range count {
		var name []byte
		if name, rest, err = msgpack.ReadString(rest); err != nil {
			return header{}, err
		}
		value := rest
		if rest, err = msgpack.Skip(rest); err != nil {
			return header{}, err
		}
		if err = h.set(string(name), value[:len(value)-len(rest)]); err != nil {
			return header{}, err
		}
	}
	if len(rest) > 0 || h.kind == 0 || h.namespace == "" {
		return header{}, errPacket
	}
	return h, nil
}

// set sets one member. As in JavaScript, an undefined member counts as missing, and of several
// members with the same name the last one counts.
func (h *header) set(name string, value []byte) error {
	none := msgpack.IsUndefined(value)
	switch name {
	case "type":
		number, _, err := msgpack.ReadUint(value)
		if err != nil || number > uint64(typeConnectError-typeConnect) {
			return errPacket
		}
		h.kind = typeConnect + packetType(number)
	case "nsp":
		text, _, err := msgpack.ReadString(value)
		if err != nil || !validNamespace(string(text)) {
			return errPacket
		}
		h.namespace = string(text)
	case "id":
		if h.id = ""; none {
			return nil
		}
		number, _, err := msgpack.ReadUint(value)
		if err != nil {
			return errPacket
		}
		h.id = strconv.FormatUint(number, 10)
	case "data":
		if h.data = value; none {
			h.data = nil
		}
	}
	return nil
}

// validNamespace reports whether a namespace's name can be written in the default parser's format,
// too.
func validNamespace(name string) bool {
	return strings.HasPrefix(name, "/") && len(name) <= maxNamespace && !strings.Contains(name, ",")
}

// unpackData reads the data of an event or an ack.
func (p *packet) unpackData(data []byte, l *realtime.Limits) error {
	elements, rest, err := msgpack.ReadArray(data)
	if err != nil {
		return errPacket
	}
	if p.kind == typeEvent {
		if elements == 0 {
			return errPacket
		}
		elements--
	}
	if elements > l.Arguments {
		return limitOf(rawjson.ErrElements, l)
	}
	text := make([]byte, 0, min(len(rest)+len(rest)/4, 1024)) // of all arguments, one after the other
	if p.kind == typeEvent {
		var name json.RawMessage
		if name, _, rest, err = msgpack.AppendJSON(nil, rest, 0, 0); err != nil {
			return errPacket
		}
		if p.event, err = eventName(name, l); err != nil {
			return err
		}
	}
	p.args = make([]realtime.Arg, elements)
	parts := 0
	for i := range p.args {
		arg, begin := &p.args[i], len(text)
		if text, arg.Binary, rest, err = msgpack.AppendJSON(text, rest, l.Attachments-parts, l.Depth); err != nil {
			return limitOf(err, l)
		}
		arg.JSON = text[begin:len(text):len(text)]
		parts += len(arg.Binary)
	}
	return nil
}

// unpackAuth reads the data of a CONNECT as JSON. Binary data becomes {"$binary":"<base64>"}.
func unpackAuth(data []byte, l *realtime.Limits) (json.RawMessage, error) {
	if !msgpack.IsMap(data) {
		return nil, errPacket
	}
	text, parts, _, err := msgpack.AppendJSON(nil, data, l.Attachments, l.Depth)
	if err != nil {
		return nil, limitOf(err, l)
	}
	auth := json.RawMessage(realtime.Arg{JSON: text, Binary: parts}.AppendInline(nil))
	if !rawjson.Object(auth) { // it is null: the map looks like a placeholder, or is too large
		return nil, errPacket
	}
	return auth, nil
}

// maxRepeated is by how many bytes a message may grow because of attachments that are in it more
// than once. A client that uses the default parser sends an attachment once, and may refer to it
// many times. An attachment that would exceed the maximum becomes null.
const maxRepeated = 16 << 20

// encode implements format.
func (msgpackFormat) encode(p packet) *engineio.PacketGroup {
	return engineio.NewPacketGroup(engineio.Packet{Type: engineio.Message, Binary: true, Data: p.msgpack()})
}

// send implements format.
func (f msgpackFormat) send(s *engineio.Session, in *engineio.Batch, p packet) error {
	return s.SendIn(in, f.encode(p))
}

// msgpack returns the packet as MessagePack.
func (p *packet) msgpack() []byte {
	size := len(p.namespace) + len(p.id) + len(p.event) + len(p.data) + 64
	for _, arg := range p.args {
		size += len(arg.JSON) + 1
	}
	for _, part := range realtime.CollectAttachments(p.args) {
		size += len(part)
	}
	members := 2
	if p.id != "" {
		members++
	}
	if p.hasData() {
		members++
	}
	message := msgpack.AppendMap(make([]byte, 0, size), members)
	message = msgpack.AppendString(message, "type")
	message = msgpack.AppendUint(message, uint64(p.kind-typeConnect))
	message = msgpack.AppendString(message, "nsp")
	message = msgpack.AppendString(message, p.namespace)
	if p.id != "" {
		message = msgpack.AppendString(message, "id")
		message = msgpack.Append(message, json.RawMessage(p.id), nil, 0)
	}
	if p.hasData() {
		message = msgpack.AppendString(message, "data")
		message = p.appendData(message, size+maxRepeated)
	}
	return message
}

func (p *packet) hasData() bool {
	return p.kind == typeEvent || p.kind == typeAck || len(p.data) > 0
}

// appendData appends the data of a packet to its message, which should become at most limit bytes
// long.
func (p *packet) appendData(message []byte, limit int) []byte {
	switch p.kind {
	case typeEvent:
		message = msgpack.AppendArray(message, 1+len(p.args))
		message = msgpack.AppendString(message, p.event)
	case typeAck:
		message = msgpack.AppendArray(message, len(p.args))
	default:
		return msgpack.Append(message, p.data, nil, limit)
	}
	for _, arg := range p.args {
		message = msgpack.Append(message, arg.JSON, arg.Binary, limit)
	}
	return message
}
