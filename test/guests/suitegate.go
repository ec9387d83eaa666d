package guests

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func init() {
	caddy.RegisterModule(new(SuiteGate))
	caddy.RegisterModule(new(SuiteDelay))
	httpcaddyfile.RegisterHandlerDirective("suite_delay", parseSuiteDelay)
	httpcaddyfile.RegisterDirectiveOrder("suite_delay", httpcaddyfile.Before, "encode")
}

// SuiteGate accepts every client, except in the namespace /no. A socket's data has the client's
// query and auth as "handshake".
type SuiteGate struct{}

// CaddyModule returns the Caddy module information.
func (*SuiteGate) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.authenticators.suite", New: func() caddy.Module { return new(SuiteGate) }}
}

// Authenticate implements realtime.Authenticator.
func (*SuiteGate) Authenticate(_ context.Context, namespace string, h *realtime.Handshake) (realtime.Identity, error) {
	if namespace == "/no" {
		return realtime.Identity{}, &realtime.ConnectError{Message: "Auth failed (custom namespace)"}
	}
	query := make(map[string]string, len(h.Query))
	for name := range h.Query {
		query[name] = h.Query.Get(name)
	}
	auth := h.Auth
	if auth == nil {
		auth = json.RawMessage("{}")
	}
	handshake, err := json.Marshal(map[string]any{"query": query, "auth": auth})
	if err != nil {
		return realtime.Identity{}, err
	}
	return realtime.Identity{Data: map[string]json.RawMessage{"handshake": handshake}}, nil
}

// UnmarshalCaddyfile sets up the authenticator; it has no options.
func (*SuiteGate) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// SuiteDelay delays requests. A client that does not wait for the answer has then given up before it
// comes.
type SuiteDelay struct {
	// Wait is the delay.
	Wait caddy.Duration `json:"wait,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*SuiteDelay) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.suite_delay", New: func() caddy.Module { return new(SuiteDelay) }}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (s *SuiteDelay) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	select {
	case <-time.After(time.Duration(s.Wait)):
		return next.ServeHTTP(w, r)
	case <-r.Context().Done():
		return nil // the client has given up
	}
}

// parseSuiteDelay sets up a SuiteDelay from Caddyfile tokens. Syntax:
//
//	suite_delay [<matcher>] <wait>
func parseSuiteDelay(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	if !h.NextArg() {
		return nil, h.ArgErr()
	}
	wait, err := caddy.ParseDuration(h.Val())
	if err != nil {
		return nil, h.WrapErr(err)
	}
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	return &SuiteDelay{Wait: caddy.Duration(wait)}, nil
}

// Interface guards
var (
	_ realtime.Authenticator      = (*SuiteGate)(nil)
	_ caddyfile.Unmarshaler       = (*SuiteGate)(nil)
	_ caddyhttp.MiddlewareHandler = (*SuiteDelay)(nil)
)
