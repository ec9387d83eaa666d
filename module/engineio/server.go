// Package engineio serves Engine.IO 4, and 3 if [Options.EIO3] is set. It turns HTTP
// requests into sessions that send and receive messages in order, over long-polling or
// WebSocket.
//
// A request enters at [Server.ServeHTTP], which opens a [Session] or finds it. polling.go
// and websocket.go are the transports of a session, and upgrade.go moves it from one to
// the other. heartbeat.go finds out when its client is gone. A codec reads and writes
// packets: codec4.go and codec3.go are those of the two revisions. A [Receiver] handles
// the messages; inbox.go has those that came by POST and wait.
//
// The protocol: https://socket.io/docs/v4/engine-io-protocol/
package engineio

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/lifecycle"
	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/refusal"
	"github.com/caddy-realtime/caddy-realtime/module/internal/registry"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
	"github.com/caddy-realtime/caddy-realtime/module/origin"
)

// A Receiver handles the messages of one session. Its methods are called one at a time.
// While Receive runs, nothing else is read from the session. This holds a client back that
// sends faster than it is served.
type Receiver interface {
	// Receive handles one message, whose data it may keep. If the data is shared and kept
	// for long, it should be a copy. What Receive sends, to any session, is best sent in the
	// batch.
	Receive(Packet, *Batch)
	// Closed is called once, after the last Receive has returned.
	Closed(reason string)
}

// An Opener is a Receiver that is told when its session has opened.
type Opener interface {
	Receiver
	// Opened is called on a goroutine of its own. What it sends comes behind the
	// handshake; the first Receive, and Closed, wait until it has returned.
	Opened()
}

// A BusyReporter is a Receiver that knows whether something would be lost if its session
// ended now, such as an ack.
type BusyReporter interface {
	Receiver
	// Busy is called between two calls of Receive, and must not block.
	Busy() bool
}

// A Batch holds back what is sent while a session's input is handled, so that all of it for
// one session leaves in one write. It may be used by any goroutine at any time. Once it
// has ended, it holds nothing back.
type Batch = outbox.Batch

// A Server has the sessions of one endpoint. Its settings may change at any time, and open
// sessions follow them.
type Server struct {
	// Gate bounds the sessions that wait. It must be set before the first
	// request, if at all.
	Gate Gate
	// Go runs what a POST has brought, and does not wait for it. It must be set before the
	// first request, if at all. Default: a new goroutine for each POST.
	Go func(func())
	// Elsewhere reaches the sessions of other nodes. It must be set before the first request, if
	// at all. Default: there are none.
	Elsewhere Elsewhere

	options func() *Options
	limit   func() int   // of what waits for one session; made once for all of them
	payload func() int64 // limits a message
	accept  func(*Session) Receiver
	budget  *outbox.Budget // of what waits for all sessions; nil: none
	forget  func()         // makes the budget forget the sessions

	sessions   sessions
	heartbeats lifecycle.Heartbeats
	relays     registry.Registry[*wsconn.Relay] // WebSockets of other nodes' sessions
}

// NewServer returns a server that asks options for its settings whenever it
// needs one, and accept for the receiver of each session that opens. accept
// must not send anything yet. The settings must come from Options.WithDefaults.
func NewServer(options func() *Options, accept func(*Session) Receiver) *Server {
	return &Server{
		Go:      func(f func()) { go f() },
		options: options,
		limit:   func() int { return options().MaxQueue },
		payload: func() int64 { return options().MaxPayload },
		accept:  accept,
		forget:  func() {},
	}
}

// SetBudget bounds what waits for all clients of the server. It is called before there are
// any.
func (s *Server) SetBudget(budget *outbox.Budget) {
	s.budget = budget
	s.forget = budget.Watch(func() []outbox.Holder {
		var all []outbox.Holder
		for _, session := range s.sessions.All() {
			all = append(all, session)
		}
		return all
	})
}

// Len returns how many sessions are open.
func (s *Server) Len() int { return s.sessions.Len() }

// CountTransports adds the number of open sessions of each transport to counts.
func (s *Server) CountTransports(counts map[string]int) {
	for _, session := range s.sessions.All() {
		counts[session.Transport()]++
	}
}

// Queued returns how many bytes wait for clients, and how many of these there are.
func (s *Server) Queued() (bytes, sessions int) {
	for _, session := range s.sessions.All() {
		if n := session.Queued(); n > 0 {
			bytes += n
			sessions++
		}
	}
	return bytes, sessions
}

// ServeHTTP handles a request whose path is the endpoint's.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.Serve(w, r, nil) }

// Serve is ServeHTTP for a web server that may have to end. Once release is closed, a GET
// that waits is answered with a noop, so that its client asks again, over a new connection.
func (s *Server) Serve(w http.ResponseWriter, r *http.Request, release <-chan struct{}) {
	o := s.options()
	p := parseParameters(r)
	// The policy is for every request, not only for the first: a session id that has
	// leaked is of no use to another site.
	origins := o.Origins
	if err := origins.Admit(w.Header(), r); err != nil {
		kept, ok := s.keptOrigin(p.sid, r)
		if !ok {
			s.refuse(w, r, refusal.Forbidden, zap.NamedError("reason", err), zap.Strings("origin", origin.SentAll(r)))
			return
		}
		origins = kept
		origins.SetHeaders(w.Header(), r)
	}
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		origins.Preflight(w, r)
		return
	}

	wantsWebSocket := wsconn.Requested(r)
	var session *Session // nil: the request names none that is known here
	var owner http.RoundTripper
	if p.hasSID {
		if session, _ = s.sessions.get(p.sid); session == nil {
			owner = s.ownerOf(p.sid, r, o)
		}
	}
	switch goesOn := (session != nil || owner != nil) && !wantsWebSocket; {
	case !IsTransport(p.transport):
		s.refuse(w, r, refusal.UnknownTransport)
	case !goesOn && !o.serves(p.transport):
		s.refuse(w, r, refusal.UnknownTransport, zap.String("reason", p.transport+" is not among the transports of socketio; the client must use "+strings.Join(o.Transports, " or ")))
	case p.hasSID:
		switch {
		case owner != nil:
			s.forward(w, r, p, owner, release)
		case session == nil:
			s.refuse(w, r, refusal.UnknownSession)
		default:
			session.serve(w, r, p, release)
		}
	case r.Method != http.MethodGet && !wsconn.IsTunnel(r):
		s.refuse(w, r, refusal.BadMethod)
	case wantsWebSocket != (p.transport == webSocketName):
		s.refuse(w, r, refusal.BadRequest)
	case !o.speaks(p.codec):
		var details []zap.Field
		if p.codec == codec3 {
			details = append(details, zap.String("reason", "the client speaks Engine.IO 3, as Socket.IO 2 clients do; to let it in, write eio3 into socketio"))
		}
		s.refuse(w, r, refusal.BadVersion, details...)
	case s.sessions.Closed():
		refusal.Unavailable(w)
	case wantsWebSocket:
		s.openWebSocket(w, r, o, p)
	default:
		s.openPolling(w, r, o, p)
	}
}

// serve handles a request that names the session.
func (s *Session) serve(w http.ResponseWriter, r *http.Request, p parameters, release <-chan struct{}) {
	wantsWebSocket := wsconn.Requested(r)
	switch {
	case wantsWebSocket != (p.transport == webSocketName), p.codec != s.codec:
		s.server.refuse(w, r, refusal.BadRequest)
	case wantsWebSocket:
		s.serveUpgrade(w, r, p.base64)
	case r.Method == http.MethodGet:
		s.servePoll(w, r, release)
	case r.Method == http.MethodPost:
		s.servePost(w, r)
	default:
		s.server.refuse(w, r, refusal.BadRequest)
	}
}

// keptOrigin returns a policy for the origin of an open session. A change of the allowed
// origins is for new sessions only.
func (s *Server) keptOrigin(sid string, r *http.Request) (*origin.Policy, bool) {
	session, ok := s.sessions.get(sid)
	sent := r.Header.Values("Origin")
	if !ok || len(sent) != 1 || origin.Sent(r) != session.handshake.Origin {
		return nil, false
	}
	return origin.Only(sent[0]), true
}

// openPolling answers the first request of a polling session.
func (s *Server) openPolling(w http.ResponseWriter, r *http.Request, o *Options, p parameters) {
	handshake, ok := s.beginHandshake(w, r, o)
	if !ok {
		return
	}
	opened := false
	defer s.endHandshake(&opened)
	session := newSession(s, handshake, p.codec)
	session.setTransport(&polling{server: s, codec: p.codec, base64: p.base64})
	if opened = s.open(session, o); !opened {
		refusal.Unavailable(w)
		return
	}
	session.tellOpened()
	payload := p.codec.textPayload.write([]Packet{openPacket(session.id, o.upgrades(), o)})
	w.Header().Set("Content-Type", contentTypeText)
	if err := writePayload(w, payload[0], func() {}); err != nil {
		session.end(reason.TransportError, gone)
	}
}

// openWebSocket answers the first request of a session that begins with WebSocket, and has
// the WebSocket read from.
func (s *Server) openWebSocket(w http.ResponseWriter, r *http.Request, o *Options, p parameters) {
	handshake, ok := s.beginHandshake(w, r, o)
	if !ok {
		return
	}
	opened := false
	defer s.endHandshake(&opened)
	conn, err := s.upgrade(w, r, o, true)
	if err != nil {
		s.logRefused(r, err.Error())
		return
	}
	session := newSession(s, handshake, p.codec)
	session.use(conn, p.base64)
	if opened = s.open(session, o); !opened {
		conn.Batch().Close() // or the answer would be discarded
		conn.Close(reason.CloseCode(reason.ShuttingDown), "", true)
		conn.Release()
		return
	}
	// In one write with the answer to the request.
	_ = session.SendIn(conn.Batch(), NewPacketGroup(openPacket(session.id, []string{}, o)))
	conn.Batch().Close()
	session.tellOpened()
	session.startReading(conn)
}

// open adds a session and starts its heartbeat. It returns false if the server takes no
// more sessions.
func (s *Server) open(session *Session, o *Options) bool {
	// From here on, the end of the session waits for its receiver.
	session.life.Hold()
	defer session.life.Resume()
	if !s.sessions.add(session) {
		return false
	}
	session.receiver = s.accept(session)
	session.startHeartbeat(o)
	var more []zap.Field
	if session.codec != codec4 { // so that one can tell when nobody needs it any more
		more = append(more, zap.Int("eio", session.Revision()))
	}
	session.life.LogOpened(session.Transport(), &session.handshake, more...)
	return true
}

// Shut takes no more sessions.
func (s *Server) Shut() {
	s.sessions.Stop()
	s.relays.Stop()
}

// Close takes no more sessions and ends the open ones, spread evenly over the window, the
// newest last. Sessions that are busy have a little longer. It returns when nothing of them
// runs any more. When ctx is done, it ends the rest at once and returns ctx's error.
func (s *Server) Close(ctx context.Context, window time.Duration) error {
	defer s.forget()
	relays := make(chan error, 1)
	go func() {
		relays <- s.relays.Close(ctx, registry.DrainOptions[*wsconn.Relay]{Window: window, Close: (*wsconn.Relay).Close})
	}()
	err := s.sessions.Close(ctx, registry.DrainOptions[*Session]{
		Window: window,
		Busy:   (*Session).busy,
		Close:  func(session *Session) { session.Close(reason.ShuttingDown) },
	})
	return errors.Join(err, <-relays)
}
