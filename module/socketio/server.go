// Package socketio speaks revision 5 of the Socket.IO protocol over Engine.IO sessions. It lets
// clients into namespaces of a [realtime.Hub], and passes events and acks on between the clients
// and the hub.
//
// client.go handles the packets of a session, connect.go lets its client into namespaces, and
// conn.go sends to the client what a namespace has for it. How packets are written is a format,
// which the first message of a session decides: text.go, header.go and binary.go are the format
// of Socket.IO's default parser, msgpack.go is that of socket.io-msgpack-parser. protocol4.go is
// about clients of revision 4, assembly.go about attachments. bundle.go serves the files of the
// client for browsers.
//
// The protocol: https://socket.io/docs/v4/socket-io-protocol/
package socketio

import (
	"net/http"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/internal/ratelog"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// DefaultConnectTimeout is that of Socket.IO's own server.
const DefaultConnectTimeout = 45 * time.Second

// Options are the settings of a Server. The zero value of a field means its
// default.
type Options struct {
	// Engine are the settings of the sessions. MaxHeaders is not taken from here but from
	// Limits.
	Engine engineio.Options
	// ConnectTimeout is how long a client may take to enter its first
	// namespace. Default 45 s.
	ConnectTimeout time.Duration
	// Limits bound what one client can take.
	Limits realtime.Limits
}

// WithDefaults returns a copy that has no zero values.
func (o Options) WithDefaults() *Options {
	o.Engine = *o.Engine.WithDefaults()
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = DefaultConnectTimeout
	}
	o.Limits = o.Limits.WithDefaults()
	o.Engine.MaxHeaders = o.Limits.Headers
	return &o
}

// A Server is the Socket.IO server of one endpoint: an [engineio.Server] that connects sessions
// with the endpoint's hub.
type Server struct {
	*engineio.Server
	endpoint *realtime.Endpoint
	options  func() *Options
	failures ratelog.Limiter // limits the log lines of connects that fail without the client's fault
}

// NewServer returns a server of an endpoint. The server calls options whenever it needs a
// setting, so the settings may change at any time. They must come from Options.WithDefaults.
func NewServer(endpoint *realtime.Endpoint, options func() *Options) *Server {
	s := &Server{endpoint: endpoint, options: options}
	s.Server = engineio.NewServer(func() *engineio.Options { return &options().Engine }, s.accept)
	s.SetBudget(endpoint.Hub().Outbound())
	s.Gate = endpoint.Pending()
	s.Go = endpoint.Hub().Go
	s.Elsewhere = endpoint.Hub().Forwarder().Endpoint(endpoint.Name(), http.HandlerFunc(s.ServeForwarded))
	return s
}
