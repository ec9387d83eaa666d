package engineio

import (
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/lifecycle"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// An owner is a Session as its lifecycle.Connection knows it.
type owner Session

func (o *owner) session() *Session { return (*Session)(o) }

// ID implements lifecycle.Owner, as do the methods that follow.
func (o *owner) ID() string { return o.id }

func (o *owner) Opened() time.Time { return o.handshake.Time }

func (o *owner) Settings() lifecycle.Settings {
	options := o.server.options()
	return lifecycle.Settings{PingInterval: options.PingInterval, PingTimeout: options.PingTimeout, Logger: options.Logger}
}

func (o *owner) Heartbeats() *lifecycle.Heartbeats { return &o.server.heartbeats }

func (o *owner) Begin() { o.server.sessions.Begin() }

func (o *owner) Done() { o.server.sessions.Done() }

func (o *owner) Receive(ws *wsconn.Conn, opcode int, data []byte) bool {
	s := o.session()
	packet, err := s.codec.parseFrame(opcode, data)
	if err != nil {
		s.end(reason.ParseError, abandon)
		return false
	}
	return s.receive(packet, ws.Batch())
}

func (o *owner) Ended(why string) { o.receiver.Closed(why) }

func (o *owner) Ping() error { return o.transport.send(pingGroup, nil) }

func (o *owner) Expire(unsent error) {
	how := abandon
	if unsent != nil {
		how = discard
	}
	o.session().endLocked(reason.PingTimeout, how)
}

func (o *owner) Fail(why string, cause error) { o.session().endForLocked(why, gone, cause) }

// Interface guard
var _ lifecycle.Owner = (*owner)(nil)
