package engineio

import (
	"net/http"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// webSocket is the WebSocket transport: a frame for each packet.
type webSocket struct {
	conn     *wsconn.Conn
	layout   *layout
	options  func() *Options
	deflates bool // conn.Deflates(): a broadcast asks for every recipient
}

// upgrade answers a request for a WebSocket with one. With hold, the answer waits until the
// WebSocket's batch is closed.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, o *Options, hold bool) (*wsconn.Conn, error) {
	return wsconn.Upgrade(w, r, wsconn.Options{Queue: s.limit, Budget: s.budget, Compress: o.CompressFrom > 0, Hold: hold})
}

// use has the session use a WebSocket from now on. It is called with the session locked, or
// before others know it.
func (s *Session) use(conn *wsconn.Conn, base64 bool) {
	t := &s.ws
	*t = webSocket{conn, s.codec.framesFor(base64), s.server.options, conn.Deflates()}
	s.setTransport(t)
	if t.deflates {
		s.deflating.Store(t)
	}
}

func (t *webSocket) name() string { return webSocketName }

func (t *webSocket) send(g *PacketGroup, batch *Batch) error {
	frames, held := g.encode(t.encoding())
	return t.conn.SendShared(batch, held, frames...)
}

// encoding returns the one that the client gets. It depends on what was negotiated, and
// on the settings of the moment.
func (t *webSocket) encoding() encoding {
	e := encoding{layout: t.layout}
	if t.deflates {
		e.compressFrom = t.options().CompressFrom
	}
	return e
}

func (t *webSocket) fits(groups []*PacketGroup) bool {
	room := t.conn.Room()
	for _, g := range groups {
		room -= g.size + wsconn.MaxHeader*len(g.packets) // at most
		if t.layout.base64 && g.binary {
			room -= g.size/3 + 4*len(g.packets)
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

// startReading has the WebSocket of a new session read from.
func (s *Session) startReading(conn *wsconn.Conn) {
	if !s.life.TryBegin() { // it has ended, and counts as running no more
		conn.Release()
		return
	}
	s.life.Serve(conn, s.server.payload)
}
