package engineio

import (
	"net/http"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// webSocket is the WebSocket transport: a text frame for each packet, a binary
// frame for each binary message.
type webSocket struct {
	conn    *wsconn.Conn
	options func() *Options
}

// upgrade answers a request for a WebSocket with one.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, o *Options) (*wsconn.Conn, error) {
	return wsconn.Upgrade(w, r, wsconn.Options{Queue: o.MaxQueue, Compress: o.CompressFrom > 0})
}

func (t *webSocket) name() string { return webSocketName }

func (t *webSocket) send(b *Burst, in *Batch) error { return t.conn.SendIn(in, b.wire(t.form())...) }

// form returns the one in which the client has its frames. It depends on what
// was negotiated, and on the settings of the moment.
func (t *webSocket) form() form {
	if !t.conn.Deflates() {
		return form{}
	}
	return form{deflateFrom: t.options().CompressFrom}
}

func (t *webSocket) writable() bool { return t.conn.Idle() }

func (t *webSocket) end(why string, how ending) (lingers bool) {
	if how != gone {
		t.conn.Close(reason.CloseCode(why), "", how == discard)
	}
	return false
}

// startReading has a new session's WebSocket read from.
func (s *Session) startReading(t *webSocket) {
	if !s.beginReading() { // it has ended, and counts as running no more
		t.conn.Release()
		return
	}
	t.conn.Run(func() {
		defer s.server.sessions.Done()
		s.read(t)
	})
}

// beginReading reports whether something of the session may begin to run, which
// calls Done at its end.
func (s *Session) beginReading() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.server.sessions.Begin()
	return true
}

// read handles what arrives over a WebSocket until it ends. It is the only
// goroutine that an idle session has.
func (s *Session) read(t *webSocket) {
	defer t.conn.Release()
	defer t.conn.Drain()
	for {
		opcode, data, err := t.conn.Read(s.server.options().MaxPayload)
		if err != nil {
			why := reason.TransportClose
			if wsconn.Violation(err) {
				why = reason.TransportError
			}
			s.end(why, gone)
			return
		}
		packet := Packet{Type: Message, Binary: true, Data: data}
		if opcode == wsconn.Text {
			if packet, err = parseText(data); err != nil {
				s.end(reason.ParseError, abandon)
				return
			}
		}
		if !s.receive(packet, t.conn.Batch()) {
			return
		}
	}
}
