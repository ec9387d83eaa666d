// Package plainws connects clients with a [realtime.Hub] over a WebSocket without Socket.IO. It is
// for clients that have no Socket.IO library: devices, scripts, other servers.
//
// A request enters at [Server.ServeHTTP], which authenticates the client before there is a
// WebSocket. conn.go is a connection that is open, and frame.go says what its frames mean.
package plainws

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/handshake"
	"github.com/caddy-realtime/caddy-realtime/module/internal/lifecycle"
	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/refusal"
	"github.com/caddy-realtime/caddy-realtime/module/internal/registry"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
	"github.com/caddy-realtime/caddy-realtime/module/origin"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// namespace is the namespace of all clients.
const namespace = "/"

// A Server has the plain WebSocket connections of one endpoint that use one format. Its methods may
// be called concurrently.
type Server struct {
	endpoint *realtime.Endpoint
	format   Format
	options  func() *Options
	limit    func() int   // limits the bytes that wait for one connection; made once for all of them
	payload  func() int64 // limits the size of a message
	conns    registry.Registry[*conn]
	beats    lifecycle.Heartbeats
	forget   func() // takes the connections out of the hub's budget

	// The keys of its frames among a message's encodings. They are made once, and not for
	// each recipient.
	plain, deflated any
}

// deflated is the key of compressed frames.
type deflated struct{ Format }

// NewServer returns a server of an endpoint. The server calls options whenever it needs a
// setting, so the settings may change at any time. They must come from Options.WithDefaults.
func NewServer(endpoint *realtime.Endpoint, format Format, options func() *Options) *Server {
	s := &Server{
		endpoint: endpoint,
		format:   format,
		options:  options,
		limit:    func() int { return options().MaxQueue },
		payload:  func() int64 { return options().MaxPayload },
		plain:    format,
		deflated: deflated{format},
	}
	s.forget = endpoint.Hub().Outbound().Watch(s.holders)
	return s
}

// holders returns the connections for the hub's budget.
func (s *Server) holders() (all []outbox.Holder) {
	for _, c := range s.conns.All() {
		all = append(all, c)
	}
	return all
}

// Len returns how many connections are open.
func (s *Server) Len() int { return s.conns.Len() }

// Queued returns how many bytes wait for clients, and for how many of these.
func (s *Server) Queued() (bytes, connections int) {
	for _, c := range s.conns.All() {
		if n := c.ws.Queued(); n > 0 {
			bytes += n
			connections++
		}
	}
	return bytes, connections
}

// ServeHTTP handles a request whose path is the server's. A client that must not connect gets an
// HTTP status instead of a WebSocket. Over HTTP/2 and HTTP/3, ServeHTTP returns when the connection
// has ended.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o := s.options()
	if err := o.Origins.Check(r); err != nil {
		s.logRefused(r, refusal.Forbidden.Message, zap.NamedError("reason", err), zap.Strings("origin", origin.SentAll(r)))
		refusal.Forbidden.Write(w)
		return
	}
	if !wsconn.Requested(r) {
		if r.ProtoMajor == 1 { // later versions have no such header
			w.Header().Set("Upgrade", "websocket")
		}
		http.Error(w, "only WebSocket connections are served here", http.StatusUpgradeRequired)
		return
	}
	if s.conns.Closed() {
		refusal.Unavailable(w)
		return
	}
	if c := s.letIn(w, r, o); c != nil {
		c.life.Serve(c.ws, s.payload)
	}
}

// letIn returns the connection of a request, which must be read from now. It returns nil if the
// request has been answered, or the connection has ended already.
func (s *Server) letIn(w http.ResponseWriter, r *http.Request, o *Options) *conn {
	kept, ok := handshake.New(r, origin.Sent(r), handshake.Options{
		MaxBytes: o.Limits.Headers,
		Headers:  o.KeepHeaders,
		Values:   o.KeepValues,
		ClientIP: o.ClientIP,
	})
	if !ok {
		s.logRefused(r, http.StatusText(http.StatusRequestHeaderFieldsTooLarge), zap.String("limit", "headers"), zap.Int("most", o.Limits.Headers))
		refusal.TooLarge(w)
		return nil
	}
	pending := s.endpoint.Pending()
	if !pending.Acquire() {
		s.logRefused(r, refusal.Crowded, zap.String("limit", "pending"))
		refusal.Full(w)
		return nil
	}
	defer pending.Release()
	hub, h := s.endpoint.Hub(), s.handshake(&kept, r)
	identity, err := hub.Lookup(namespace).Authenticate(r.Context(), h)
	if err != nil {
		s.refuse(w, r, err)
		return nil
	}
	ws, err := wsconn.Upgrade(w, r, wsconn.Options{Queue: s.limit, Budget: s.endpoint.Hub().Outbound(), Compress: o.CompressFrom > 0})
	if err != nil {
		identity.Discard()
		s.logRefused(r, err.Error())
		return nil
	}
	c := &conn{server: s, ws: ws, id: h.Session, opened: h.Time}
	if !c.open() {
		identity.Discard()
		ws.Close(reason.CloseCode(reason.ShuttingDown), "", true)
		ws.Release()
		return nil
	}
	c.life.LogOpened(h.Transport, &kept)
	if !c.start(hub.Lookup(namespace), h, identity) { // it has ended
		ws.Release()
		return nil
	}
	return c
}

// refuse answers a request that an authenticator has refused.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	s.logRefused(r, err.Error())
	status := http.StatusForbidden
	var body struct {
		Error struct {
			Message string          `json:"message"`
			Data    json.RawMessage `json:"data,omitempty"`
		} `json:"error"`
	}
	var refused *realtime.ConnectError
	switch {
	case errors.As(err, &refused):
		body.Error.Message, body.Error.Data = refused.Message, refused.Data
		if refused.Status == http.StatusUnauthorized {
			status = refused.Status
		}
	case errors.Is(err, realtime.ErrInvalidNamespace):
		body.Error.Message = realtime.ErrInvalidNamespace.Error()
	default:
		status = http.StatusServiceUnavailable
		body.Error.Message = "the connection could not be authenticated"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// logRefused logs that a request was refused.
func (s *Server) logRefused(r *http.Request, message string, details ...zap.Field) {
	o := s.options()
	refusal.Log(o.Logger, r, o.ClientIP(r), message, details...)
}

// Shut takes no more connections.
func (s *Server) Shut() { s.conns.Stop() }

// Close takes no more connections and ends those that are open, like
// engineio.Server.Close.
func (s *Server) Close(ctx context.Context, window time.Duration) error {
	defer s.forget()
	return s.conns.Close(ctx, registry.DrainOptions[*conn]{
		Window: window,
		Busy:   (*conn).busy,
		Close:  func(c *conn) { c.end(reason.ShuttingDown) },
	})
}
