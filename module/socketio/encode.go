package socketio

import (
	"strconv"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// format is the wire format of Socket.IO's default parser.
type format struct{}

// encodeMessage returns a message as the burst that all its recipients share.
func encodeMessage(m *realtime.Message) any {
	p := packet{kind: typeEvent, namespace: m.Namespace}
	if m.Ack != 0 {
		p.id = strconv.FormatUint(m.Ack, 10)
	}
	return encode(p, &m.Event, m.OffsetArgs())
}

// encodeAck returns the answer to the event that had an id.
func encodeAck(namespace, id string, args []realtime.Arg) *engineio.Burst {
	return encode(packet{kind: typeAck, namespace: namespace, id: id}, nil, args)
}

// encode returns an event, if it has a name, or an ack.
func encode(p packet, name *string, args []realtime.Arg) *engineio.Burst {
	size := len("0000-,[]") + len(p.namespace) + len(p.id)
	for _, arg := range args {
		size += len(arg.JSON) + 1
	}
	if name != nil {
		size += len(*name) + 3
	}
	attachments := realtime.CollectAttachments(args)
	if p.attachments = len(attachments); p.attachments > 0 {
		p.kind = typeBinaryAck
		if name != nil {
			p.kind = typeBinaryEvent
		}
	}
	text := append(p.append(make([]byte, 0, size)), '[')
	if name != nil {
		text = append(text, realtime.String(*name).JSON...)
	}
	for i, arg := range args {
		if i > 0 || name != nil {
			text = append(text, ',')
		}
		text = appendArg(text, arg, attachments)
	}
	text = append(text, ']')

	packets := make([]engineio.Packet, 1, 1+len(attachments))
	packets[0] = engineio.Packet{Type: engineio.Message, Data: text}
	for _, attachment := range attachments {
		packets = append(packets, engineio.Packet{Type: engineio.Message, Binary: true, Data: attachment})
	}
	return engineio.NewBurst(packets...)
}

// encodePacket returns a packet without attachments.
func encodePacket(kind packetType, namespace string, data []byte) *engineio.Burst {
	text := packet{kind: kind, namespace: namespace, data: data}.append(nil)
	return engineio.NewBurst(engineio.Packet{Type: engineio.Message, Data: text})
}
