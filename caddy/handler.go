package caddy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/plainws"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func init() { caddy.RegisterModule(new(Handler)) }

// The defaults of a handler's fields.
const (
	defaultName         = "default"
	defaultSocketIOPath = "/socket.io/"
	defaultHealthPath   = "/health/realtime"
)

// The values of Handler.Handover.
const (
	handoverOn  = "on"
	handoverOff = "off"
)

// Handler holds realtime connections: those of Socket.IO clients, and plain
// WebSockets. A request for none of its paths goes on to the next handler,
// untouched.
//
// Where handlers before it rewrite paths (try_files, rewrite, uri, handle_path),
// clients reach it by the path that they ask for, too; the health and the API do
// not. The log warns of what cannot be reached, or cannot be closed.
//
// Without any configuration it is a working Socket.IO endpoint at /socket.io/
// for pages of the same origin, with its health at /health/realtime.
type Handler struct {
	// Name is the endpoint's name. Connections stay with the endpoint of their
	// name when the configuration is reloaded. Handlers of one name must be
	// identical. Default "default".
	Name string `json:"name,omitempty"`

	// Hub is the name of the hub whose sockets and rooms the endpoint shares
	// with others. Default "default".
	Hub string `json:"hub,omitempty"`

	// SocketIO is where Socket.IO is served. Default: at /socket.io/.
	SocketIO *SocketIO `json:"socketio,omitempty"`

	// WebSockets are where plain WebSockets are served. Default: nowhere.
	WebSockets []WebSocket `json:"websockets,omitempty"`

	// Health is where the endpoint's health is told. Default: at
	// /health/realtime.
	Health *Health `json:"health,omitempty"`

	// Namespaces that clients may connect to: globs, in which * stands for any
	// characters. Plain WebSockets are always in "/". Default: "/" alone.
	Namespaces realtime.Globs `json:"namespaces,omitempty"`

	// API is where backends reach sockets over HTTP. Default: nowhere.
	API *API `json:"api,omitempty"`

	// ServeClient is a folder whose files of the client for browsers,
	// socket.io.min.js and the like, are served under Socket.IO's path, as
	// Socket.IO's own server does: the folder dist of socket.io-client. They are
	// read when the configuration is loaded. Default: none.
	ServeClient string `json:"serve_client,omitempty"`

	// Origins are the web pages that may connect, besides those of the same
	// origin, such as https://app.example.com, https://*.example.com,
	// http://localhost:*, http://172.16.0.0/12:*, null or *. Apps are named in
	// full: capacitor://localhost, tauri://localhost, app://., qrc://,
	// chrome-extension://<id>. Clients that are no browsers may send other
	// origins: ws://host counts as http://host, wss://host as https://host, and
	// file:// as null. "*" lets any single Origin header in, without
	// credentials; it is refused beside guests that read cookies or what other
	// HTTP handlers know of a client. A first word "strict" refuses clients that
	// say no origin, which are not browsers. Default: the same origin only.
	Origins []string `json:"origins,omitempty"`

	// Authenticators must all accept a client, in this order. Later ones add to
	// its identity. Default: everyone is let in.
	AuthenticatorsRaw []json.RawMessage `json:"authenticators,omitempty" caddy:"namespace=realtime.authenticators inline_key=authenticator"`

	// Handlers are asked in this order to handle what clients send; the first
	// one that does so ends the search. Default: none.
	HandlersRaw []json.RawMessage `json:"handlers,omitempty" caddy:"namespace=realtime.handlers inline_key=handler"`

	// Ping says how dead connections are found.
	Ping Ping `json:"ping,omitzero"`

	// Compression says which messages are compressed. Default: none over
	// WebSocket, and what is large over polling.
	Compression Compression `json:"compression,omitzero"`

	// Handover "off" leaves the listeners of the endpoint's server to Caddy at a reload. By default,
	// on Linux, a reload gives all new connections to the old configuration's listeners until the
	// new one has started, then to the new one's, and waits at least 300ms until clients have moved.
	// Without that a reload is shorter, and may lose a connection that has just begun. Other systems
	// have no handover. "on" or "off", default "on".
	Handover string `json:"handover,omitempty"`

	// Limits bound what one client can take.
	Limits Limits `json:"limits,omitzero"`

	helper         *httpcaddyfile.Helper // while it is parsed; nil if it is not by a Caddyfile's directive
	app            *App
	reference      *reference
	authenticators []realtime.Authenticator
	handlers       []realtime.Handler
	backend        *Backend // among the handlers; nil if it is not
}

// SocketIO is where Socket.IO is served, to clients with its default parser and
// to those with socket.io-msgpack-parser: their first packet tells.
type SocketIO struct {
	// Path is where; everything under it is Socket.IO's, and the path itself,
	// with its last slash or without. Default "/socket.io/".
	Path string `json:"path,omitempty"`
	// Off serves it nowhere.
	Off bool `json:"off,omitempty"`
	// EIO3 lets in clients of Socket.IO 2, which speak Engine.IO 3, as well.
	// Such a client takes its session's id, a secret of its own, for the id of its
	// socket. Backends, the API and other clients know the socket by another id.
	// It never comes back to a socket with recovery. Default: they get the error
	// "Unsupported protocol version".
	EIO3 bool `json:"eio3,omitempty"`
	// Transports are those that are served: "polling", "websocket" or both. With
	// websocket alone, clients must be told to use that only, as browsers' are by
	// io({transports: ["websocket"]}): by default they begin with polling. A
	// session that is open when the configuration is reloaded keeps its transport.
	// Default: both.
	Transports []string `json:"transports,omitempty"`
}

// transports returns those that are served; nil: all. s may be nil.
func (s *SocketIO) transports() []string {
	if s == nil {
		return nil
	}
	return s.Transports
}

// validate reports what cannot be served. s may be nil.
func (s *SocketIO) validate() error {
	if s == nil {
		return nil
	}
	for i, transport := range s.Transports {
		switch {
		case !engineio.IsTransport(transport):
			return fmt.Errorf("socketio: the transport %q is unknown; it is polling or websocket", transport)
		case slices.Contains(s.Transports[:i], transport):
			return fmt.Errorf("socketio: the transport %s is there already; write it once", transport)
		}
	}
	return nil
}

// WebSocket is where plain WebSockets are served.
type WebSocket struct {
	// Path is where, with a slash at its end or without.
	Path string `json:"path"`
	// Format is what frames mean: "json", objects with an event and its
	// arguments, or "raw", the event "message" with the frame as its argument.
	// Default "json".
	Format string `json:"format,omitempty"`
}

// Health is where the endpoint's health is told.
type Health struct {
	// Path is where, exactly. Default "/health/realtime".
	Path string `json:"path,omitempty"`
	// Off turns the health route off.
	Off bool `json:"off,omitempty"`
}

// Ping says how dead connections are found.
type Ping struct {
	// Interval is how long after the last answer a client is pinged. Default 25s.
	Interval caddy.Duration `json:"interval,omitempty"`
	// Timeout is how long it may take to answer. Default 20s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

// Compression says which messages are compressed.
type Compression struct {
	// On compresses messages over WebSocket, of Socket.IO's clients and plain
	// ones, if they negotiate permessage-deflate (RFC 7692). It saves traffic
	// and costs time. Those that are open when the configuration is reloaded
	// keep what they have negotiated. Default: off.
	On bool `json:"on,omitempty"`
	// MinSize is the size in bytes from which a message is compressed, and an
	// answer to polling. These are compressed by gzip whether compression is on
	// or off, for clients that take it. Default 1024.
	MinSize int64 `json:"min_size,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.realtime", New: func() caddy.Module { return new(Handler) }}
}

// Provision implements caddy.Provisioner.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.setDefaults()
	if err := h.Validate(); err != nil { // Caddy calls it only afterwards, and what follows changes the app
		return err
	}
	app, err := ctx.App("realtime")
	if err != nil {
		return fmt.Errorf("getting the realtime app: %w", err)
	}
	h.app = app.(*App)
	h.app.addServer(ctx, h.Handover == handoverOff)
	config, err := json.Marshal(h) // before loadGuests, which drops the JSON of the guests
	if err != nil {
		return err
	}
	raws := slices.Clone(h.AuthenticatorsRaw)
	if err := h.loadGuests(ctx); err != nil {
		return err
	}
	s, err := newSettings(h, config, h.app.logger)
	if err != nil {
		return err
	}
	s.policy.Authentication = authenticationOf(raws, h.authenticators)
	if h.reference, err = h.app.register(s); err == nil && h.reference.settings == s {
		h.warn()
	}
	return err
}

// warn logs options that have no effect as they are written.
func (h *Handler) warn() {
	everything := false // a handler before this one handles every event
	for _, handler := range h.handlers {
		switch handler := handler.(type) {
		case *Backend:
			everything = len(handler.Events) == 0
		case *Relay:
			if everything {
				h.app.logger.Warn("relay is never asked: the backend above it takes every event; write relay above the backend, or the backend's events", zap.String("endpoint", h.Name))
			}
		}
	}
}

func (h *Handler) setDefaults() {
	if h.Name == "" {
		h.Name = defaultName
	}
	if h.Hub == "" {
		h.Hub = defaultName
	}
	for i := range h.WebSockets {
		if h.WebSockets[i].Format == "" {
			h.WebSockets[i].Format = string(plainws.JSON)
		}
	}
}

func (h *Handler) socketioPath() string {
	switch {
	case h.SocketIO == nil || !h.SocketIO.Off && h.SocketIO.Path == "":
		return defaultSocketIOPath
	case h.SocketIO.Off:
		return ""
	}
	return strings.TrimSuffix(starless(h.SocketIO.Path), "/") + "/"
}

func (h *Handler) healthPath() string {
	switch {
	case h.Health == nil || !h.Health.Off && h.Health.Path == "":
		return defaultHealthPath
	case h.Health.Off:
		return ""
	}
	return h.Health.Path
}

func (h *Handler) loadGuests(ctx caddy.Context) (err error) {
	if h.authenticators, err = loadGuests[realtime.Authenticator](ctx, h, "AuthenticatorsRaw", "realtime.authenticators"); err != nil {
		return fmt.Errorf("loading authenticators: %w", err)
	}
	if h.handlers, err = loadGuests[realtime.Handler](ctx, h, "HandlersRaw", "realtime.handlers"); err != nil {
		return fmt.Errorf("loading handlers: %w", err)
	}
	if h.backend, err = bindBackend(h.authenticators, h.handlers); err != nil {
		return err
	}
	h.backend.keepIn(h.app)
	if err := checkAnyOrigin(h.expandedOrigins(), h.authenticators, h.handlers); err != nil {
		return err
	}
	return h.checkBackendPath()
}

// checkBackendPath reports an error if the endpoint itself answers the backend's path.
func (h *Handler) checkBackendPath() error {
	if h.backend == nil {
		return nil
	}
	requested := h.backend.path
	var owner string
	switch {
	case h.socketioPath() != "" && strings.HasPrefix(requested+"/", h.socketioPath()):
		owner = "socketio"
	case requested == h.healthPath():
		owner = "health"
	case h.API.owns(requested):
		owner = "api"
	case slices.ContainsFunc(h.WebSockets, func(ws WebSocket) bool { return ws.is(requested) }):
		owner = "websocket"
	default:
		return nil
	}
	return fmt.Errorf("backend: the path %q is that of %s already; each needs its own", requested, owner)
}

// Validate implements caddy.Validator.
func (h *Handler) Validate() error {
	for _, ws := range h.WebSockets {
		if ws.Format != string(plainws.JSON) && ws.Format != string(plainws.Raw) {
			return fmt.Errorf("websocket %s: the format %q is unknown; it is json or raw", ws.Path, ws.Format)
		}
	}
	if err := h.checkNamespaces(); err != nil {
		return err
	}
	switch {
	case h.Handover != "" && h.Handover != handoverOn && h.Handover != handoverOff:
		return fmt.Errorf("handover is %s or %s, not %q", handoverOn, handoverOff, h.Handover)
	case h.Ping.Interval < 0 || h.Ping.Timeout < 0:
		return errors.New("ping: durations must be positive")
	case h.Compression.MinSize < 0 || h.Compression.MinSize > maxSize:
		return fmt.Errorf("compression: min_size must be between 1 and %d bytes", maxSize)
	case h.Compression.MinSize > 0 && !h.Compression.On:
		return errors.New("compression: min_size means nothing where it is not on; turn it on, or leave min_size out")
	}
	if err := h.Limits.validate(); err != nil {
		return err
	}
	if err := h.SocketIO.validate(); err != nil {
		return err
	}
	if err := h.API.validate(); err != nil {
		return err
	}
	return h.checkPaths()
}

// checkNamespaces reports a glob that matches no namespace.
func (h *Handler) checkNamespaces() error {
	for _, namespace := range h.Namespaces {
		if !strings.HasPrefix(namespace, "/") && !strings.HasPrefix(namespace, "*") {
			return fmt.Errorf("namespaces: %q must begin with a slash", namespace)
		}
	}
	return nil
}

// checkPaths reports paths that are not valid, or that exclude each other.
func (h *Handler) checkPaths() error {
	if h.ServeClient != "" && h.socketioPath() == "" {
		return errors.New("serve_client: the client is served under the path of socketio, which is off; leave one of the two out")
	}
	return checkPaths(h.socketioPath(), h.healthPath(), h.API, h.WebSockets)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
