package caddy

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/origin"
	"github.com/caddy-realtime/caddy-realtime/module/plainws"
	"github.com/caddy-realtime/caddy-realtime/module/publish"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
	"github.com/caddy-realtime/caddy-realtime/module/socketio"
)

// settings are an endpoint's configuration, ready for use. They never change.
type settings struct {
	name    string
	hubName string
	config  []byte // the handler's JSON

	socketioPath string // "" if off
	healthPath   string // "" if off
	webSockets   []WebSocket
	api          *API // nil if there is none
	apiKeys      publish.Keys
	backend      *Backend // nil if there is none

	socketio *socketio.Options
	client   *socketio.Bundle // nil if none is served
	plain    *plainws.Options
	policy   realtime.Policy
	logger   *zap.Logger
}

// newSettings compiles the configuration of a handler. The handler has been validated and has
// loaded its guests. config is its JSON from before loading, which clears the guests' JSON.
func newSettings(h *Handler, config []byte, logger *zap.Logger) (*settings, error) {
	policy, err := origin.New(h.expandedOrigins()...)
	if err != nil {
		return nil, err
	}
	s := &settings{
		name:         h.Name,
		hubName:      h.Hub,
		config:       config,
		socketioPath: h.socketioPath(),
		healthPath:   h.healthPath(),
		webSockets:   h.WebSockets,
		api:          h.API,
		backend:      h.backend,
		logger:       logger,
		policy: realtime.Policy{
			Namespaces:     h.Namespaces,
			Authenticators: h.authenticators,
			Handlers:       h.handlers,
			Limits:         h.Limits.bounds(),
		},
	}
	if s.apiKeys, err = h.API.loadKeys(); err != nil {
		return nil, err
	}
	if s.name != defaultName {
		s.logger = logger.With(zap.String("endpoint", s.name))
	}
	s.policy.Logger = s.logger
	headers, values := kept(h.authenticators, h.handlers)
	options := connection.Options{
		PingInterval:  time.Duration(h.Ping.Interval),
		PingTimeout:   time.Duration(h.Ping.Timeout),
		MaxPayload:    h.Limits.Payload,
		MaxQueue:      h.Limits.Queue,
		QueueVolatile: h.Limits.queueVolatile(),
		CompressFrom:  h.Compression.from(),
		Origins:       policy,
		KeepHeaders:   headers,
		KeepValues:    valuesOf(values),
		ClientIP:      clientIP,
	}
	options.Logger = s.logger.With(zap.String("protocol", "socket.io"))
	s.socketio = socketio.Options{
		ConnectTimeout: time.Duration(h.Limits.Handshake),
		Limits:         s.policy.Limits,
		Engine: engineio.Options{
			Options:    options,
			EIO3:       h.SocketIO != nil && h.SocketIO.EIO3,
			Transports: h.SocketIO.transports(),
		},
	}.WithDefaults()
	options.Logger = s.logger.With(zap.String("protocol", "websocket"))
	s.plain = plainws.Options{Options: options, Limits: s.policy.Limits}.WithDefaults()
	if h.ServeClient != "" {
		if s.client, err = socketio.ReadBundle(caddy.NewReplacer().ReplaceKnown(h.ServeClient, "")); err != nil {
			return nil, fmt.Errorf("serve_client: %w; it takes the folder dist of socket.io-client", err)
		}
	}
	return s, nil
}

// equal reports whether two handlers have the same configuration.
func (s *settings) equal(other *settings) bool { return bytes.Equal(s.config, other.config) }

// paths returns the paths that the endpoint answers itself.
func (s *settings) paths() []string {
	var paths []string
	if s.socketioPath != "" {
		paths = append(paths, s.socketioPath)
	}
	for _, ws := range s.webSockets {
		paths = append(paths, ws.Path)
	}
	if s.healthPath != "" {
		paths = append(paths, s.healthPath)
	}
	if s.api != nil {
		paths = append(paths, s.api.path()+"/")
	}
	return paths
}

// isSocketIO reports whether a path is Socket.IO's. Clients may leave out the last slash
// (addTrailingSlash: false).
func (s *settings) isSocketIO(path string) bool {
	return s.socketioPath != "" && (strings.HasPrefix(path, s.socketioPath) || path == unslashed(s.socketioPath))
}

// webSocket returns the plain WebSocket at a path.
func (s *settings) webSocket(path string) (WebSocket, bool) {
	for _, ws := range s.webSockets {
		if ws.is(path) {
			return ws, true
		}
	}
	return WebSocket{}, false
}

// is reports whether a path is the WebSocket's. A slash at the end makes no difference.
func (ws WebSocket) is(path string) bool { return unslashed(path) == unslashed(ws.Path) }

// unslashed returns a path without one slash at its end. The root path "/" stays as it is.
func unslashed(path string) string {
	if path == "/" {
		return path
	}
	return strings.TrimSuffix(path, "/")
}

// starless returns a path without the star of "/*" at its end, which may be written where
// everything below the path is served, too.
func starless(path string) string {
	if strings.HasSuffix(path, "/*") {
		return strings.TrimSuffix(path, "*")
	}
	return path
}

// examplePaths are what errors propose. A plain WebSocket and the health are at one path
// only, with nothing below it.
var examplePaths = map[string]string{
	"socketio":  defaultSocketIOPath,
	"websocket": "/ws, and what is different among clients goes into the query",
	"health":    defaultHealthPath,
	"api":       "/api/realtime",
}

// checkPaths reports the first path that is not valid, or that two parts of the endpoint
// would answer.
func checkPaths(socketioPath, healthPath string, api *API, webSockets []WebSocket) error {
	users := make(map[string]string)
	enter := func(user, path string) error {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("%s: the path %q must begin with a slash", user, path)
		}
		if at := strings.IndexAny(path, "*{}?#"); at >= 0 {
			return fmt.Errorf("%s: the path %q is no pattern, and nothing of it is filled in; "+
				"write one as it is in requests, such as %s", user, path, examplePaths[user])
		}
		if other, used := users[unslashed(path)]; used {
			return fmt.Errorf("%s: the path %q is that of %s already; each needs its own", user, path, other)
		}
		users[unslashed(path)] = user
		if user != "socketio" && socketioPath != "" && strings.HasPrefix(path, socketioPath) {
			return fmt.Errorf("%s: the path %q is under that of socketio, "+
				"which answers everything under %q; choose another", user, path, socketioPath)
		}
		if user != "api" && api.owns(path) {
			return fmt.Errorf("%s: the path %q is under that of api, "+
				"which answers everything under %q; choose another", user, path, api.path()+"/")
		}
		return nil
	}
	if socketioPath != "" {
		if err := enter("socketio", socketioPath); err != nil {
			return err
		}
	}
	for _, ws := range webSockets {
		if err := enter("websocket", ws.Path); err != nil {
			return err
		}
	}
	if healthPath != "" {
		if err := enter("health", healthPath); err != nil {
			return err
		}
	}
	if api != nil {
		return enter("api", starless(api.Path))
	}
	return nil
}

// clientIP returns the address of a request's client. Caddy determines it, with regard to trusted
// proxies.
func clientIP(r *http.Request) string {
	if ip, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok {
		return ip
	}
	return r.RemoteAddr
}

// from returns the size in bytes from which messages are compressed; 0 turns compression off.
func (c Compression) from() int {
	if !c.On {
		return 0
	}
	return cmp.Or(int(c.MinSize), engineio.DefaultCompressFrom)
}

// expandedOrigins returns the origins with global placeholders such as {env.HOST} filled in.
func (h *Handler) expandedOrigins() []string {
	replacer := caddy.NewReplacer()
	origins := make([]string, len(h.Origins))
	for i, o := range h.Origins {
		origins[i] = replacer.ReplaceKnown(o, "")
	}
	return origins
}
