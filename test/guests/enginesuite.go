package guests

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
)

func init() {
	caddy.RegisterModule(new(EngineSuite))
	httpcaddyfile.RegisterHandlerDirective("engineio_suite", parseEngineSuite)
	httpcaddyfile.RegisterDirectiveOrder("engineio_suite", httpcaddyfile.Before, "respond")
}

// EngineSuite is the server that the tests of engine.io-client expect: Engine.IO without Socket.IO,
// with a ping every 500 ms and payloads of at most 100 bytes. It sends "hi" to each new session. It
// answers the message sendHeaders with the headers of the session's last POST, as JSON. The tests
// look at the cookies only, and so there is nothing else. It sends every other message back.
type EngineSuite struct {
	server  *engineio.Server
	cookies sync.Map // session's id → cookies of its last POST, a string
}

// CaddyModule returns the Caddy module information.
func (*EngineSuite) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.engineio_suite", New: func() caddy.Module { return new(EngineSuite) }}
}

// Provision implements caddy.Provisioner.
func (e *EngineSuite) Provision(ctx caddy.Context) error {
	options := engineio.Options{Options: connection.Options{
		PingInterval: 500 * time.Millisecond,
		MaxPayload:   100,
		Logger:       ctx.Logger(),
	}}.WithDefaults()
	e.server = engineio.NewServer(
		func() *engineio.Options { return options },
		func(s *engineio.Session) engineio.Receiver { return &suiteReceiver{e, s} },
	)
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (e *EngineSuite) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if r.Method == http.MethodPost {
		e.cookies.Store(r.URL.Query().Get("sid"), r.Header.Get("Cookie"))
	}
	e.server.ServeHTTP(w, r)
	return nil
}

// Cleanup implements caddy.CleanerUpper.
func (e *EngineSuite) Cleanup() error {
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	return e.server.Close(ctx, 0)
}

// A suiteReceiver answers one session's messages.
type suiteReceiver struct {
	suite   *EngineSuite
	session *engineio.Session
}

// Opened implements engineio.Opener.
func (r *suiteReceiver) Opened() {
	_ = r.session.Send(engineio.NewPacketGroup(text([]byte("hi")))) // it fails if the session has ended
}

// Receive implements engineio.Receiver.
func (r *suiteReceiver) Receive(p engineio.Packet, batch *engineio.Batch) {
	if !p.Binary && string(p.Data) == "sendHeaders" {
		p = text(r.headers())
	}
	_ = r.session.SendIn(batch, engineio.NewPacketGroup(p)) // it fails if the session has ended
}

func (r *suiteReceiver) headers() []byte {
	headers := make(map[string]string)
	if cookie, ok := r.suite.cookies.Load(r.session.ID()); ok && cookie != "" {
		headers["cookie"] = cookie.(string)
	}
	data, err := json.Marshal(headers)
	if err != nil {
		panic(err)
	}
	return data
}

// Closed implements engineio.Receiver.
func (r *suiteReceiver) Closed(string) { r.suite.cookies.Delete(r.session.ID()) }

func text(data []byte) engineio.Packet {
	return engineio.Packet{Type: engineio.Message, Data: data}
}

// parseEngineSuite sets up an EngineSuite from Caddyfile tokens. Syntax:
//
//	engineio_suite [<matcher>]
func parseEngineSuite(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	return new(EngineSuite), nil
}

// Interface guards
var (
	_ caddyhttp.MiddlewareHandler = (*EngineSuite)(nil)
	_ caddy.Provisioner           = (*EngineSuite)(nil)
	_ caddy.CleanerUpper          = (*EngineSuite)(nil)
	_ engineio.Opener             = (*suiteReceiver)(nil)
)
