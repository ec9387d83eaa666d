package caddy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/textproto"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/chain"
	"github.com/caddy-realtime/caddy-realtime/caddy/internal/storage"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
	"github.com/caddy-realtime/caddy-realtime/module/webhook"
)

func init() { caddy.RegisterModule(new(Backend)) }

// Backend asks an application, by HTTP requests, how to answer the events that clients send, and
// tells it which clients have disconnected. Together with the authenticator "backend" it also asks
// who clients are. The messages are described in module/webhook/schema.
//
// When Caddy exits or is killed, the disconnects that the backend has not been told of are in
// Caddy's storage. The backend is told of them after the next start.
//
// The requests run through a chain of HTTP handlers within the process. The endpoint answers
// requests from outside for the backend's path, and for paths below it, with 404. That includes
// requests that directives before the endpoint have rewritten. Choose a path with nothing else
// below it. The endpoint cannot close the path to requests that a matcher keeps from it; the log
// warns of that.
type Backend struct {
	// URL is where requests are posted to, such as "http://localhost:3000/realtime". It is short
	// for Handle with a reverse_proxy. Global placeholders such as {env.BACKEND} are filled in when
	// the configuration is loaded.
	URL string `json:"url,omitempty"`

	// Path is the path of the requests. It belongs to Handle; a URL has its own path. Default
	// "/realtime".
	Path string `json:"path,omitempty"`

	// Handle is the chain of HTTP handlers that answer the requests, such as a reverse_proxy with
	// several upstreams. It replaces URL. A request has the host and the scheme that the client
	// used, and the client's address. Handlers must return when the request's context ends.
	HandleRaw []json.RawMessage `json:"handle,omitempty" caddy:"namespace=http.handlers inline_key=handler"`

	// Secrets sign the requests. Each is "whsec_" followed by 24 to 64 bytes in base64. Write two
	// of them while you replace one by the other. Global placeholders such as {env.SECRET} are
	// filled in when the configuration is loaded. Either Secrets or Unsigned is required.
	Secrets []string `json:"secrets,omitempty"`

	// Unsigned turns signatures off. Whoever reaches the backend in another way can then pretend to
	// be this server. Default: false.
	Unsigned bool `json:"unsigned,omitempty"`

	// Events are the names of the events that the backend handles. They are globs, in which *
	// stands for any characters and ? for one. Default: all.
	Events realtime.Globs `json:"events,omitempty"`

	// Forward are the names of the handshake's headers that are passed on with a connect. They
	// replace the default: name Cookie and Authorization, too, if the backend needs them. Default:
	// Cookie and Authorization.
	Forward []string `json:"forward,omitempty"`

	// ConnectTimeout is how long the backend may take to answer a connect, retries included.
	// Default 3s.
	ConnectTimeout caddy.Duration `json:"connect_timeout,omitempty"`

	// EventTimeout is how long the backend may take to answer an event, retries included. Default
	// 5s.
	EventTimeout caddy.Duration `json:"event_timeout,omitempty"`

	// Concurrency is the number of messages that may be in flight. Default 256.
	//
	// From 4 on, a quarter is reserved for connects and a quarter for events. Disconnects get an
	// eighth at most. Events of one name get three times as many as they leave to others.
	Concurrency int `json:"concurrency,omitempty"`

	// Batch is how many messages about events and disconnects a request may have at most, from 2 on.
	// Default: each message has a request of its own. In a Caddyfile, "batch" alone is 100.
	//
	// Messages that come while a request is on its way to the backend gather, and go together in the
	// next one. When it is quiet, nobody waits. The backend must know batches.
	Batch int `json:"batch,omitempty"`

	// Retry is when a connect or an event is sent again within its timeout: "unsent" or "unknown".
	// Default "unsent".
	//
	// With "unsent", a request is sent again only if no backend can have received it. That is so if
	// no connection could be made, if the backend had closed the connection before, and if the
	// backend refused the request unseen by HTTP/2. With "unknown", a request is also sent again if
	// the connection ended without an answer, and the backend may have received it. A repeated
	// request has the same webhook-id, by which the backend must recognize it.
	//
	// A backend that is about to stop should put "Retry-After: 1" into its answers. After such an
	// answer with a status from 200 to 299, nothing is sent for so many seconds, 5 at most;
	// requests wait instead. The backend then closes its listening socket half a second later, and
	// no request is lost. If Handle has several backends, use health checks: Retry-After makes the
	// others wait, too.
	Retry string `json:"retry,omitempty"`

	// OnError is what happens to a client that connects while the backend is unavailable: "reject"
	// or "accept". Default "reject".
	//
	// "reject" closes the connection, and the client reconnects by itself. "accept" lets the client
	// in without an identity. A backend is unavailable if it does not answer, or answers with a
	// status of 500 and above, 408, 425 or 429. All other statuses from 300 on refuse the client.
	OnError string `json:"on_error,omitempty"`

	// Notify is what the backend is told of, besides events: "connect", "disconnect" or both; or
	// "off" alone. Default: both.
	//
	// With "connect", the backend decides who may connect. Without it, the other authenticators
	// decide; if there are none, everybody may connect.
	Notify []string `json:"notify,omitempty"`

	*webhook.Handler // set by attach

	handle  *handleSegment // only until the Caddyfile's directive has been parsed
	where   positions      // of the options; only as long as handle
	path    string         // of its requests, cleaned
	options webhook.Options
	store   *storage.Store // nil if there is no storage
	logger  *zap.Logger
}

// The values of Backend.OnError.
const (
	onErrorReject = "reject"
	onErrorAccept = "accept"
)

// The values of Backend.Retry.
const (
	retryUnsent  = "unsent"
	retryUnknown = "unknown"
)

// The values in Backend.Notify.
const (
	notifyConnect    = "connect"
	notifyDisconnect = "disconnect"
	notifyOff        = "off"
)

// defaultBackendPath is the default of Backend.Path.
const defaultBackendPath = "/realtime"

// CaddyModule returns the Caddy module information.
func (*Backend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.handlers.backend", New: func() caddy.Module { return new(Backend) }}
}

// Provision implements caddy.Provisioner.
func (b *Backend) Provision(ctx caddy.Context) error {
	if err := b.Validate(); err != nil { // Provision relies on it, and Caddy validates later
		return err
	}
	b.logger = ctx.Logger()
	target, err := b.target()
	if err != nil {
		return err
	}
	secrets, err := b.loadSecrets()
	if err != nil {
		return err
	}
	handlers := b.HandleRaw
	if b.URL != "" {
		handlers = []json.RawMessage{b.proxy(target)}
	}
	transport, err := chain.New(ctx, handlers, b.URL != "")
	if err != nil {
		return fmt.Errorf("backend: %w", err)
	}
	b.path = path.Clean(target.Path)
	b.options = webhook.Options{
		URL:            target.String(),
		Transport:      transport,
		Secrets:        secrets,
		Events:         b.Events,
		Forward:        b.Forward,
		ConnectTimeout: time.Duration(b.ConnectTimeout),
		EventTimeout:   time.Duration(b.EventTimeout),
		Concurrency:    b.Concurrency,
		Batch:          b.Batch,
		AcceptOnError:  b.OnError == onErrorAccept,
		RetryUnknown:   b.Retry == retryUnknown,
		NoConnects:     !b.notifies(notifyConnect),
		NoDisconnects:  !b.notifies(notifyDisconnect),
		Logger:         b.logger,
	}
	return nil
}

// keepIn sets the store of the disconnects that the backend has not been told of: that
// of the app. b may be nil.
func (b *Backend) keepIn(a *App) {
	if b == nil {
		return
	}
	if b.store = a.store; b.store == nil {
		b.logger.Error("what the backend is to be told will not survive this process", zap.Error(a.storeless))
	}
}

// identity returns a text that is different for the backend of another application: its
// URL, or its path and the addresses of the handlers' upstreams, or else its path and the
// JSON of the handlers. It must not be logged.
func (b *Backend) identity() string {
	if b.URL != "" {
		return b.options.URL
	}
	var dials []string
	var find func(v any)
	find = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, element := range v {
				find(element)
			}
		case map[string]any:
			if dial, ok := v["dial"].(string); ok {
				dials = append(dials, caddy.NewReplacer().ReplaceKnown(dial, ""))
			}
			for _, element := range v {
				find(element)
			}
		}
	}
	for _, raw := range b.HandleRaw {
		var v any
		if json.Unmarshal(raw, &v) == nil {
			find(v)
		}
	}
	if len(dials) == 0 {
		return b.path + " " + fmt.Sprintf("%s", b.HandleRaw)
	}
	slices.Sort(dials)
	return b.path + " " + strings.Join(slices.Compact(dials), " ")
}

// attach connects the backend to an endpoint, until detach.
func (b *Backend) attach(e *endpoint) {
	o := b.options
	o.Meter = &e.meter
	o.Hub, o.Name = e.hub.Hub, e.name
	if b.store != nil {
		o.Storage = storeFor(b.store, b.identity()).Under(e.hub.Name()).Under("departures").Under(e.name)
	}
	b.Handler = webhook.New(o, &e.disconnects)
	e.disconnects.Use(b.Handler)
}

// adopt tells the backend's queue of the endpoint's sockets that connected before the
// backend was attached. By now the backend is one of the endpoint's handlers.
func (b *Backend) adopt(e *endpoint) {
	for _, n := range e.hub.Namespaces() {
		for _, s := range n.Sockets() {
			if s.Endpoint() == e.Endpoint {
				e.disconnects.Adopt(s)
			}
		}
	}
}

func (b *Backend) detach(ctx context.Context, e *endpoint) {
	if caddy.Exiting() {
		e.disconnects.Suspend(ctx, b.Handler)
		return
	}
	e.disconnects.Leave(ctx, b.Handler)
}

// Validate implements caddy.Validator.
func (b *Backend) Validate() error {
	switch {
	case b.URL == "" && len(b.HandleRaw) == 0:
		return errors.New("backend: there is nowhere to ask; write a URL such as " +
			"http://localhost:3000/realtime, or a block with handle")
	case b.URL != "" && len(b.HandleRaw) > 0:
		return errors.New("backend: a URL and handle exclude each other; leave one of them out")
	case b.URL != "" && b.Path != "":
		return errors.New("backend: the path is in the URL; leave path out")
	case b.Path != "" && !strings.HasPrefix(b.Path, "/"):
		return fmt.Errorf("backend: the path %q must begin with a slash", b.Path)
	case strings.Trim(b.Path, "/") == "" && b.Path != "":
		return errors.New("backend: the path must be one that clients have no need of; " +
			"write one such as /realtime")
	case strings.ContainsAny(b.Path, "*{}?#"):
		return fmt.Errorf("backend: the path %q is no pattern, and has no query; "+
			"write one such as /realtime", b.Path)
	case b.ConnectTimeout < 0 || b.EventTimeout < 0:
		return errors.New("backend: timeout: durations must be positive")
	case b.Concurrency < 0:
		return errors.New("backend: concurrency must be positive")
	case b.Batch < 0 || b.Batch == 1 || b.Batch > maxBatch:
		return fmt.Errorf("backend: batch is a number from 2 to %d, not %d; leave it out to have each message in a request of its own", maxBatch, b.Batch)
	case b.Retry != "" && b.Retry != retryUnsent && b.Retry != retryUnknown:
		return fmt.Errorf("backend: retry is unsent or unknown, not %q", b.Retry)
	case b.OnError != "" && b.OnError != onErrorReject && b.OnError != onErrorAccept:
		return fmt.Errorf("backend: on_error is reject or accept, not %q", b.OnError)
	}
	for _, name := range b.Forward {
		if err := checkForward(name); err != nil {
			return err
		}
	}
	if err := b.checkNotify(); err != nil {
		return err
	}
	if !strings.Contains(b.URL, "{") {
		if _, err := b.target(); err != nil {
			return err
		}
	}
	switch {
	case len(b.Secrets) == 0 && !b.Unsigned:
		return errors.New("backend: there is no secret, and so anybody who reaches the " +
			"backend could pretend to be this server; " +
			"write secret and one such as {env.REALTIME_SECRET}, or unsigned")
	case len(b.Secrets) > 0 && b.Unsigned:
		return errors.New("backend: unsigned and secret exclude each other; leave one of them out")
	}
	for _, secret := range b.Secrets {
		if strings.Contains(secret, "{") {
			return nil // Provision fills in the placeholder and checks the result
		}
	}
	_, err := b.loadSecrets()
	return err
}

// notifies reports whether the backend is told of connects or of disconnects.
func (b *Backend) notifies(what string) bool {
	return b.Notify == nil || slices.Contains(b.Notify, what)
}

// checkNotify reports what is wrong with Notify.
func (b *Backend) checkNotify() error {
	for i, what := range b.Notify {
		switch {
		case what == "recovered" || what == "rooms":
			return fmt.Errorf("backend: notify %s is not there yet; "+
				"there are connect and disconnect, or off", what)
		case what != notifyConnect && what != notifyDisconnect && what != notifyOff:
			return fmt.Errorf("backend: notify is connect, disconnect or both, or off, not %q", what)
		case what == notifyOff && len(b.Notify) > 1:
			return errors.New("backend: notify off stands alone; leave off out, or the others")
		case slices.Contains(b.Notify[:i], what):
			return fmt.Errorf("backend: notify has %s twice; write it once", what)
		}
	}
	switch {
	case b.Notify != nil && len(b.Notify) == 0:
		return errors.New("backend: notify is empty; write off, or what the backend is told of")
	case b.notifies(notifyConnect):
		return nil
	case b.OnError != "":
		return errors.New("backend: on_error is about connects, " +
			"of which notify has the backend not be told; leave it out")
	case b.Forward != nil:
		return errors.New("backend: forward is about connects, " +
			"of which notify has the backend not be told; leave it out")
	}
	return nil
}

// checkForward reports a header that must not be forwarded, because it says something
// about the request to the backend itself. A client could forge that.
func checkForward(name string) error {
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	own := func(prefix string) bool { return strings.HasPrefix(canonical, prefix) }
	switch {
	case strings.ContainsAny(name, " \t\r\n:*") || name == "":
		return fmt.Errorf("backend: forward: %q is no header's name; write one such as X-Api-Key", name)
	case own("Content-"), own("Webhook-"), own("X-Forwarded-"), own("Sec-Websocket-"),
		slices.Contains([]string{
			"Host", "Connection", "Transfer-Encoding", "Upgrade", "Traceparent", "Te", "Trailer", "Expect",
			"Accept-Encoding", "Keep-Alive", "Proxy-Connection", "User-Agent",
		}, canonical):
		return fmt.Errorf("backend: forward: the header %s belongs to the request itself; "+
			"leave it out", canonical)
	}
	return nil
}

// loadSecrets returns the secrets with placeholders filled in. The error does not
// contain them.
func (b *Backend) loadSecrets() ([]webhook.Secret, error) {
	var secrets []webhook.Secret
	for i, text := range b.Secrets {
		text, err := expand(fmt.Sprint("backend: secret ", i+1), text)
		if err != nil {
			return nil, err
		}
		secret, err := webhook.ParseSecret(text)
		if err != nil {
			return nil, fmt.Errorf("backend: secret %d: %w", i+1, err)
		}
		secrets = append(secrets, secret)
	}
	return secrets, nil
}

// HandshakeHeaders implements HeaderReader.
func (b *Backend) HandshakeHeaders() []string { return b.forward() }

func (b *Backend) forward() []string {
	if !b.notifies(notifyConnect) {
		return nil
	}
	if b.Forward == nil {
		return webhook.DefaultForward
	}
	return b.Forward
}

func (b *Backend) forwards(name string) bool {
	return slices.ContainsFunc(b.forward(), func(f string) bool { return strings.EqualFold(f, name) })
}

// Interface guards
var (
	_ realtime.Handler  = (*Backend)(nil)
	_ HeaderReader      = (*Backend)(nil)
	_ caddy.Provisioner = (*Backend)(nil)
	_ caddy.Validator   = (*Backend)(nil)
)
