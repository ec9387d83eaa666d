package socketio

import (
	"slices"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
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
func (f textFormat) encode(p packet) *engineio.PacketGroup {
	attachments := realtime.CollectAttachments(p.args)
	if len(attachments) == 0 {
		return f.text(p).Group()
	}
	messages := make([]engineio.Packet, 1, 1+len(attachments))
	messages[0] = engineio.Packet{Type: engineio.Message, Data: appendText(make([]byte, 0, textSize(p)), p, attachments)}
	for _, attachment := range attachments {
		messages = append(messages, engineio.Packet{Type: engineio.Message, Binary: true, Data: attachment})
	}
	return engineio.NewPacketGroup(messages...)
}

// send implements format.
func (f textFormat) send(s *engineio.Session, in *engineio.Batch, p packet) error {
	if slices.ContainsFunc(p.args, func(arg realtime.Arg) bool { return len(arg.Binary) > 0 }) {
		return s.SendIn(in, f.encode(p))
	}
	return s.SendText(in, f.text(p))
}

// text returns a packet without attachments.
func (textFormat) text(p packet) engineio.Text {
	return appendText(engineio.NewText(textSize(p)), p, nil)
}

// textSize returns about how many bytes the text of a packet has.
func textSize(p packet) int {
	size := len("0000-,[]") + len(p.namespace) + len(p.id) + len(p.data) + len(p.event) + len(`"",`)
	for _, arg := range p.args {
		size += len(arg.JSON) + 1
	}
	return size
}

// appendText appends the text of a packet.
func appendText(text []byte, p packet, attachments realtime.Attachments) []byte {
	h := header{kind: p.kind, namespace: p.namespace, id: p.id, data: p.data}
	if p.kind != typeEvent && p.kind != typeAck {
		return h.append(text)
	}
	if h.attachments = len(attachments); h.attachments > 0 {
		h.kind = typeBinaryAck
		if p.kind == typeEvent {
			h.kind = typeBinaryEvent
		}
	}
	text = append(h.append(text), '[')
	if p.kind == typeEvent {
		text = rawjson.AppendString(text, p.event)
	}
	for i, arg := range p.args {
		if i > 0 || p.kind == typeEvent {
			text = append(text, ',')
		}
		text = appendArg(text, arg, attachments)
	}
	return append(text, ']')
}
