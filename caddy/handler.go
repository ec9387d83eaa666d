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

// Handler is an endpoint. It serves the connections of Socket.IO clients and plain WebSockets. It
// passes every request for another path on to the next handler, unchanged.
//
// Without any configuration it serves Socket.IO at /socket.io/ to pages of the same origin, and its
// health at /health/realtime.
//
// Handlers before it may rewrite paths (try_files, rewrite, uri, handle_path). Clients still reach
// the endpoint by the path that they asked for. The health and the API are found by the rewritten
// path only. The log warns of paths of the endpoint that no request can reach, and of a backend's
// path that the endpoint cannot close.
type Handler struct {
	// Name is the endpoint's name. When the configuration is reloaded, connections stay with the
	// endpoint of the same name. Handlers with the same name must be identical. Default "default".
	Name string `json:"name,omitempty"`

	// Hub is the name of the hub that the endpoint belongs to. Endpoints of one hub share sockets
	// and rooms. Default "default".
	Hub string `json:"hub,omitempty"`

	// SocketIO is how Socket.IO is served. Default: at /socket.io/.
	SocketIO *SocketIO `json:"socketio,omitempty"`

	// WebSockets are the paths at which plain WebSockets are served. Default: none.
	WebSockets []WebSocket `json:"websockets,omitempty"`

	// Health is where the endpoint reports its health. Default: at /health/realtime.
	Health *Health `json:"health,omitempty"`

	// Namespaces are the Socket.IO namespaces that clients may connect to. They are globs, in which
	// * stands for any characters and ? for one. Plain WebSockets are always in "/". Default: "/"
	// alone.
	Namespaces realtime.Globs `json:"namespaces,omitempty"`

	// API is the HTTP API, by which backends reach clients. Default: none.
	API *API `json:"api,omitempty"`

	// ServeClient is a folder with the client library for browsers: the folder dist of
	// socket.io-client. Its files, such as socket.io.min.js, are served under Socket.IO's path, as
	// Socket.IO's own server does. They are read when the configuration is loaded. Default: none.
	ServeClient string `json:"serve_client,omitempty"`

	// Origins are the origins of the web pages that may connect, besides pages of the same origin.
	// Default: the same origin only.
	//
	// Examples are https://app.example.com, https://*.example.com, http://localhost:*,
	// http://172.16.0.0/12:*, null and *. The origins of apps are written in full:
	// capacitor://localhost, tauri://localhost, app://., qrc://, chrome-extension://<id>.
	//
	// "*" accepts any single Origin header, without credentials. It is refused beside guests that
	// read cookies or what other HTTP handlers know of a client.
	//
	// If the first word is "strict", clients without an Origin header are refused. Such clients are
	// not browsers. Clients that are not browsers may send other origins: ws://host counts as
	// http://host, wss://host as https://host, and file:// as null.
	Origins []string `json:"origins,omitempty"`

	// Authenticators decide who may connect. All of them must accept a client. They are asked in
	// this order, and each adds to the client's identity. Default: none, and everybody may connect.
	AuthenticatorsRaw []json.RawMessage `json:"authenticators,omitempty" caddy:"namespace=realtime.authenticators inline_key=authenticator"`

	// Handlers handle the events that clients send. They are asked in this order, until one has
	// handled the event. Default: none.
	HandlersRaw []json.RawMessage `json:"handlers,omitempty" caddy:"namespace=realtime.handlers inline_key=handler"`

	// Ping is how the endpoint finds dead connections.
	Ping Ping `json:"ping,omitzero"`

	// Compression is which messages are compressed. Default: messages over WebSocket are not, and
	// large answers to polling are.
	Compression Compression `json:"compression,omitzero"`

	// Handover is whether a reload hands the listeners of the endpoint's server over: "on" or
	// "off". Default "on". Only Linux has the handover.
	//
	// With "on", all new connections go to the old configuration's listeners until the new
	// configuration has started. Then they go to the new ones. The reload waits at least 300ms
	// until clients have moved. With "off", Caddy alone handles the listeners. A reload is then
	// shorter, and may lose a connection that has just begun.
	Handover string `json:"handover,omitempty"`

	// Limits bound the resources that one client can use.
	Limits Limits `json:"limits,omitzero"`

	helper         *httpcaddyfile.Helper // only while the Caddyfile's directive is parsed; else nil
	app            *App
	reference      *reference
	authenticators []realtime.Authenticator
	handlers       []realtime.Handler
	backend        *Backend // the one among handlers; nil if there is none
}

// SocketIO is how Socket.IO is served. Clients may use the default parser or
// socket.io-msgpack-parser: the endpoint recognizes the parser by the client's first packet.
type SocketIO struct {
	// Path is the path of Socket.IO. It includes every path below it. Clients may leave out its
	// last slash. Default "/socket.io/".
	Path string `json:"path,omitempty"`
	// Off turns Socket.IO off. Default: false.
	Off bool `json:"off,omitempty"`
	// EIO3 also accepts clients of Socket.IO 2, which speak Engine.IO 3. Default: false; such
	// clients get the error "Unsupported protocol version".
	//
	// A client of Socket.IO 2 takes the id of its session, which is a secret of its own, for the id
	// of its socket. Backends, the API and other clients know the socket by another id. Such a
	// client never gets its socket back with recovery.
	EIO3 bool `json:"eio3,omitempty"`
	// Transports are the transports that are served: "polling", "websocket" or both. Default: both.
	//
	// With "websocket" alone, clients must use only that: by default they begin with polling.
	// Browsers' clients do so by io({transports: ["websocket"]}). A session that is open when the
	// configuration is reloaded keeps its transport.
	Transports []string `json:"transports,omitempty"`
}

// transports returns the transports that are served; nil means all. s may be nil.
func (s *SocketIO) transports() []string {
	if s == nil {
		return nil
	}
	return s.Transports
}

// validate returns an error if the transports are unknown or repeated. s may be nil.
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

// WebSocket is a path at which plain WebSockets are served.
type WebSocket struct {
	// Path is the path. Clients may add a slash at its end or leave it out.
	Path string `json:"path"`
	// Format is what a frame contains: "json" or "raw". A "json" frame is an object with an event
	// and its arguments. A "raw" frame is the event "message" with the frame as its only argument.
	// Default "json".
	Format string `json:"format,omitempty"`
}

// Health is where the endpoint reports its health.
type Health struct {
	// Path is the exact path. Default "/health/realtime".
	Path string `json:"path,omitempty"`
	// Off turns the health off. Default: false.
	Off bool `json:"off,omitempty"`
}

// Ping is how the endpoint finds dead connections.
type Ping struct {
	// Interval is the time from a client's last answer to its next ping. Default 25s.
	Interval caddy.Duration `json:"interval,omitempty"`
	// Timeout is how long a client may take to answer a ping. Default 20s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

// Compression is which messages are compressed.
type Compression struct {
	// On lets clients over WebSocket negotiate permessage-deflate (RFC 7692), with Socket.IO or
	// without. Compression saves traffic and costs CPU time. Connections that are open when the
	// configuration is reloaded keep what they have negotiated. Default: false.
	On bool `json:"on,omitempty"`
	// MinSize is the size in bytes from which messages are compressed. It can be set only together
	// with On. Default 1024.
	//
	// Answers to polling are compressed by gzip from that size, for clients that accept it, whether
	// On is set or not.
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
				h.app.logger.Warn("relay is never asked: the backend above it takes every "+
					"event; write relay above the backend, or the backend's events",
					zap.String("endpoint", h.Name))
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
		return errors.New("compression: min_size means nothing where it is not on; " +
			"turn it on, or leave min_size out")
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
		return errors.New("serve_client: the client is served under the path of socketio, " +
			"which is off; leave one of the two out")
	}
	return checkPaths(h.socketioPath(), h.healthPath(), h.API, h.WebSockets)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
