package redisadapter

import (
	"github.com/caddy-realtime/caddy-realtime/module/internal/msgpack"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A broadcast is an event that a server has sent to its own clients, or an emitter to none.
type broadcast struct {
	uid string // of the server
	packet
	options
}

// parseBroadcast reads [uid, packet, opts].
func parseBroadcast(message []byte) (b broadcast, err error) {
	v, err := parse(message)
	if err != nil {
		return b, err
	}
	elements, err := v.elements(maxMembers)
	if err != nil {
		return b, err
	}
	if len(elements) < 2 {
		return b, errMessage
	}
	if b.uid, err = elements[0].string(); err != nil {
		return b, err
	}
	if b.packet, err = elements[1].packet(); err != nil {
		return b, err
	}
	if b.namespace == "" {
		b.namespace = "/"
	}
	if len(elements) > 2 {
		b.options, err = elements[2].options()
	}
	return b, err
}

// encodeBroadcast is the inverse of parseBroadcast.
func encodeBroadcast(uid string, m *realtime.Message, o *options) []byte {
	dst := msgpack.AppendArray(make([]byte, 0, sizeOf(m, o)), 3)
	dst = msgpack.AppendString(dst, uid)
	dst = appendPacket(dst, m)
	return o.append(dst)
}

// sizeOf returns about how many bytes a message takes.
func sizeOf(m *realtime.Message, o *options) int {
	size := 128 + len(m.Event) + len(m.Namespace)
	for _, arg := range m.Args {
		size += len(arg.JSON)
		for _, part := range arg.Binary {
			size += len(part)
		}
	}
	for _, names := range [][]string{o.rooms, o.except} {
		for _, name := range names {
			size += len(name) + 16
		}
	}
	return size
}
