// Package socketio speaks revision 5 of the Socket.IO protocol over Engine.IO
// sessions: it lets clients into namespaces of a [realtime.Hub] and carries events
// and acks between them and it.
//
// client.go handles the packets that arrive on a session, conn.go is one
// namespace's way back. What packets look like on the wire is a format, which a
// session has from its first message on: text.go with header.go and binary.go is
// that of Socket.IO's default parser, msgpack.go that of socket.io-msgpack-parser.
// protocol4.go says what is different for clients of revision 4.
//
// The protocol: https://socket.io/docs/v4/socket-io-protocol/
package socketio

import (
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
	// Engine are the settings of the sessions below, but for MaxHeaders, which
	// is among the limits.
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

// A Server is the Socket.IO side of one endpoint. It is an [engineio.Server]
// whose sessions lead to the endpoint's hub.
type Server struct {
	*engineio.Server
	endpoint *realtime.Endpoint
	options  func() *Options
	failures ratelog.Limiter // of connects, which are not the clients' fault
}

// NewServer returns a server that asks options for its settings whenever it
// needs one. They must come from Options.WithDefaults.
func NewServer(endpoint *realtime.Endpoint, options func() *Options) *Server {
	s := &Server{endpoint: endpoint, options: options}
	s.Server = engineio.NewServer(func() *engineio.Options { return &options().Engine }, s.accept)
	s.SetBudget(endpoint.Hub().Outbound())
	s.Gate = endpoint.Pending()
	return s
}
