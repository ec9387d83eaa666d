package socketio

import (
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// textFormat is the format of Socket.IO's default parser: a text message, and a
// binary one for each attachment.
// https://socket.io/docs/v4/socket-io-protocol/#packet-encoding
type textFormat struct{}

// decode implements format.
func (textFormat) decode(m engineio.Packet, begun *assembly) (p packet, rest *assembly, err error) {
	switch {
	case m.Binary && begun != nil:
		if !begun.add(m.Data) {
			return packet{}, begun, nil
		}
		p, err = begun.packet(begun.received)
		return p, nil, err
	case m.Binary, begun != nil:
		return packet{}, nil, errPacket // an attachment of nothing, or nothing where one was due
	}
	h, err := parseHeader(m.Data)
	if err != nil {
		return packet{}, nil, err
	}
	if h.kind.binary() {
		return packet{}, &assembly{header: h}, nil
	}
	p, err = h.packet(nil)
	return p, nil, err
}

// encode implements format.
func (textFormat) encode(p packet) *engineio.Burst {
	h := header{kind: p.kind, namespace: p.namespace, id: p.id, data: p.data}
	if p.kind != typeEvent && p.kind != typeAck {
		return engineio.NewBurst(engineio.Packet{Type: engineio.Message, Data: h.append(nil)})
	}
	size := len("0000-,[]") + len(p.namespace) + len(p.id) + len(p.event) + len(`"",`)
	for _, arg := range p.args {
		size += len(arg.JSON) + 1
	}
	attachments := realtime.CollectAttachments(p.args)
	if h.attachments = len(attachments); h.attachments > 0 {
		h.kind = typeBinaryAck
		if p.kind == typeEvent {
			h.kind = typeBinaryEvent
		}
	}
	text := append(h.append(make([]byte, 0, size)), '[')
	if p.kind == typeEvent {
		text = append(text, realtime.String(p.event).JSON...)
	}
	for i, arg := range p.args {
		if i > 0 || p.kind == typeEvent {
			text = append(text, ',')
		}
		text = appendArg(text, arg, attachments)
	}
	text = append(text, ']')

	messages := make([]engineio.Packet, 1, 1+len(attachments))
	messages[0] = engineio.Packet{Type: engineio.Message, Data: text}
	for _, attachment := range attachments {
		messages = append(messages, engineio.Packet{Type: engineio.Message, Binary: true, Data: attachment})
	}
	return engineio.NewBurst(messages...)
}
