package engineio

import (
	"net/http"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// webSocket is the WebSocket transport: a text frame for each packet, a binary
// frame for each binary message.
type webSocket struct {
	conn    *wsconn.Conn
	base64  bool // binary messages are sent as text
	options func() *Options
}

// upgrade answers a request for a WebSocket with one.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, o *Options) (*wsconn.Conn, error) {
	return wsconn.Upgrade(w, r, wsconn.Options{Queue: s.limit, Budget: s.budget, Compress: o.CompressFrom > 0})
}

// newWebSocket returns the transport of a version.
func (s *Server) newWebSocket(conn *wsconn.Conn, p parameters) framing {
	t := webSocket{conn, p.base64, s.options}
	if p.version == version3 {
		return &webSocket3{t, form3{framed: true, base64: p.base64}}
	}
	return &t
}

// framing is a transport that sends frames.
type framing interface {
	transport
	plain(b *PacketGroup) ([][]byte, *outbox.Shared) // uncompressed
}

func (t *webSocket) plain(b *PacketGroup) ([][]byte, *outbox.Shared) {
	return b.wire(form{base64: t.base64})
}

func (t *webSocket) name() string { return webSocketName }

func (t *webSocket) send(b *PacketGroup, in *Batch) error {
	frames, held := b.wire(t.form())
	return t.conn.SendShared(in, held, frames...)
}

// form returns the one in which the client has its frames. It depends on what
// was negotiated, and on the settings of the moment.
func (t *webSocket) form() form {
	f := form{base64: t.base64}
	if t.conn.Deflates() {
		f.deflateFrom = t.options().CompressFrom
	}
	return f
}

func (t *webSocket) fits(groups []*PacketGroup) bool {
	room := t.conn.Room()
	for _, b := range groups {
		room -= b.size + wsconn.MaxHeader*len(b.packets) // at most
		if t.base64 && b.binary() {
			room -= b.size/3 + 4*len(b.packets)
		}
	}
	return room >= 0
}

func (t *webSocket) fitsAll(groups []*PacketGroup) bool { return t.fits(groups) }

func (t *webSocket) unread() bool { return t.conn.Unread() }

func (t *webSocket) queued() int { return t.conn.Queued() }

func (t *webSocket) writable() bool { return t.conn.Idle() }

func (t *webSocket) held() (bytes int, stalled time.Duration) { return t.conn.Held() }

func (t *webSocket) onSlow(f func()) { t.conn.OnSlow(f) }

func (t *webSocket) isSlow() bool { return true } // the connection has judged

func (t *webSocket) forgotten() {}

func (t *webSocket) end(why string, how ending) (lingers bool) {
	switch how {
	case gone:
	case cut:
		t.conn.Cut()
	default:
		t.conn.Close(reason.CloseCode(why), "", how == discard)
	}
	return false
}

// webSocket3 is the WebSocket transport of Engine.IO 3.
type webSocket3 struct {
	webSocket
	form3 form3
}

func (t *webSocket3) plain(b *PacketGroup) ([][]byte, *outbox.Shared) { return b.as(t.form3) }

func (t *webSocket3) send(b *PacketGroup, in *Batch) error {
	frames, held := b.as(t.form3)
	return t.conn.SendShared(in, held, frames...)
}

// startReading has a new session's WebSocket read from.
func (s *Session) startReading(conn *wsconn.Conn) {
	if !s.begin() { // it has ended, and counts as running no more
		conn.Release()
		return
	}
	conn.Run(func() {
		defer s.server.sessions.Done()
		s.read(conn)
	})
}

// read handles what arrives over a WebSocket until it ends. It is the only
// goroutine that an idle session has.
func (s *Session) read(conn *wsconn.Conn) {
	defer conn.Release()
	defer conn.Drain()
	for {
		opcode, data, err := conn.Read(s.server.payload)
		if err != nil {
			s.endRead(err)
			return
		}
		packet, err := s.version.parseFrame(opcode, data)
		if err != nil {
			s.end(reason.ParseError, abandon)
			return
		}
		if !s.receive(packet, conn.Batch()) {
			return
		}
	}
}

// endRead ends the session after an error of its WebSocket's reader. Of a breach of
// the protocol, such as a message that is too big, the log says which it was.
func (s *Session) endRead(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if wsconn.Violation(err) {
		s.endForLocked(reason.TransportError, gone, err)
	} else {
		s.endLocked(reason.TransportClose, gone)
	}
}
