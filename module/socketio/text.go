package socketio

import (
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// textFormat is the format of Socket.IO's default parser: a text message, followed by a binary
// message for each attachment.
// https://socket.io/docs/v4/socket-io-protocol/#packet-encoding
type textFormat struct{}

// open implements format.
func (textFormat) open(m engineio.Packet, l *realtime.Limits) (header, error) {
	if m.Binary {
		return header{}, errPacket // an attachment, but no packet has any
	}
	return parseHeader(m.Data, l.Attachments)
}

// read implements format.
func (textFormat) read(h header, attachments [][]byte, l *realtime.Limits) (packet, error) {
	return h.packet(attachments, l)
}

// encode implements format.
func (textFormat) encode(p packet) *engineio.PacketGroup {
	h := header{kind: p.kind, namespace: p.namespace, id: p.id, data: p.data}
	if p.kind != typeEvent && p.kind != typeAck {
		return engineio.NewPacketGroup(engineio.Packet{Type: engineio.Message, Data: h.append(nil)})
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
	return engineio.NewPacketGroup(messages...)
}
