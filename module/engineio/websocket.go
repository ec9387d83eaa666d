package engineio

import (
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// webSocket is the WebSocket transport: a text frame for each packet, a binary
// frame for each binary message.
type webSocket struct{ conn *wsconn.Conn }

// newWebSocket returns the transport of a version. base64 is for binary messages
// as text, which a client of version 3 can ask for.
func newWebSocket(conn *wsconn.Conn, v version, base64 bool) framing {
	if v == version3 {
		return &webSocket3{webSocket{conn}, form{version: v, framed: true, base64: base64}}
	}
	return &webSocket{conn}
}

// framing is a transport that sends frames.
type framing interface {
	transport
	frames(b *Burst) [][]byte
}

func (t *webSocket) name() string { return webSocketName }

func (t *webSocket) frames(b *Burst) [][]byte { return b.wire() }

func (t *webSocket) send(b *Burst, in *Batch) error { return t.conn.SendIn(in, b.wire()...) }

func (t *webSocket) writable() bool { return t.conn.Idle() }

func (t *webSocket) end(why string, how ending) (lingers bool) {
	if how != gone {
		t.conn.Close(reason.CloseCode(why), "", how == discard)
	}
	return false
}

// webSocket3 is the WebSocket transport of Engine.IO 3.
type webSocket3 struct {
	webSocket
	form form
}

func (t *webSocket3) frames(b *Burst) [][]byte { return b.as(t.form) }

func (t *webSocket3) send(b *Burst, in *Batch) error { return t.conn.SendIn(in, b.as(t.form)...) }

// startReading leaves a goroutine that reads from a new session's WebSocket.
func (s *Session) startReading(conn *wsconn.Conn) {
	if !s.start(func() { s.read(conn) }) { // it has ended, and counts as running no more
		conn.Release()
	}
}

// read handles what arrives over a WebSocket until it ends. It is the only
// goroutine that an idle session has.
func (s *Session) read(conn *wsconn.Conn) {
	defer conn.Release()
	defer conn.Drain()
	for {
		opcode, data, err := conn.Read(s.server.options().MaxPayload)
		if err != nil {
			why := reason.TransportClose
			if wsconn.Violation(err) {
				why = reason.TransportError
			}
			s.end(why, gone)
			return
		}
		packet, err := s.version.parseFrame(opcode, data)
		if err != nil {
			s.end(reason.ParseError, flush)
			return
		}
		if !s.receive(packet, conn.Batch()) {
			return
		}
	}
}
