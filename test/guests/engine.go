package guests

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
)

func init() {
	caddy.RegisterModule(new(Engine))
	httpcaddyfile.RegisterHandlerDirective("engineio_echo", parseEngine)
	httpcaddyfile.RegisterDirectiveOrder("engineio_echo", httpcaddyfile.Before, "respond")
}

// Engine is Engine.IO without Socket.IO. It sends every message back to its client, as the
// protocol's own test suite expects.
type Engine struct {
	// Interval is the time from a client's last answer to its next ping.
	Interval caddy.Duration `json:"interval,omitempty"`
	// Timeout is how long a client may take to answer a ping.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	server *engineio.Server
}

// CaddyModule returns the Caddy module information.
func (*Engine) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.engineio_echo", New: func() caddy.Module { return new(Engine) }}
}

// Provision implements caddy.Provisioner.
func (e *Engine) Provision(ctx caddy.Context) error {
	options := engineio.Options{Options: connection.Options{
		PingInterval: time.Duration(e.Interval),
		PingTimeout:  time.Duration(e.Timeout),
		Logger:       ctx.Logger(),
	}}.WithDefaults()
	e.server = engineio.NewServer(
		func() *engineio.Options { return options },
		func(s *engineio.Session) engineio.Receiver { return returner{s} },
	)
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	e.server.ServeHTTP(w, r)
	return nil
}

// Cleanup implements caddy.CleanerUpper.
func (e *Engine) Cleanup() error {
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	return e.server.Close(ctx, 0)
}

// A returner sends a session's messages back.
type returner struct{ session *engineio.Session }

// Receive implements engineio.Receiver.
func (r returner) Receive(p engineio.Packet, batch *engineio.Batch) {
	_ = r.session.SendIn(batch, engineio.NewPacketGroup(p)) // it fails if the session has ended
}

// Closed implements engineio.Receiver.
func (returner) Closed(string) {}

// parseEngine sets up an Engine from Caddyfile tokens. Syntax:
//
//	engineio_echo [<matcher>] <interval> <timeout>
func parseEngine(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	e := new(Engine)
	for _, setting := range []*caddy.Duration{&e.Interval, &e.Timeout} {
		if !h.NextArg() {
			return nil, h.ArgErr()
		}
		d, err := caddy.ParseDuration(h.Val())
		if err != nil {
			return nil, h.WrapErr(err)
		}
		*setting = caddy.Duration(d)
	}
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	return e, nil
}

// Interface guards
var (
	_ caddyhttp.MiddlewareHandler = (*Engine)(nil)
	_ caddy.Provisioner           = (*Engine)(nil)
	_ caddy.CleanerUpper          = (*Engine)(nil)
)
