// Package connection has the settings that the connections of all protocols share.
package connection

import (
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/defaults"
	"github.com/caddy-realtime/caddy-realtime/module/origin"
)

// The defaults, which are those of Socket.IO's own server.
const (
	DefaultPingInterval = 25 * time.Second
	DefaultPingTimeout  = 20 * time.Second
	DefaultMaxPayload   = 1_000_000
	DefaultMaxQueue     = 1_000_000
)

// Options are the settings of Engine.IO sessions and of plain WebSockets. The zero value of a
// field means its default.
type Options struct {
	// PingInterval is how long after a pong the next ping is sent. Default 25 s.
	PingInterval time.Duration
	// PingTimeout is how long a client may take to answer a ping. Default 20 s.
	PingTimeout time.Duration
	// MaxPayload is the size in bytes of the largest message. Default 1,000,000.
	MaxPayload int64
	// MaxQueue is how many bytes may wait for a client that takes nothing, including what it
	// costs to keep them. A connection is closed as a slow consumer if more than that waits
	// and its client has taken nothing for 5 s, or, over long-polling, for PingTimeout if that
	// is longer. It is closed at once if more than 16 times as much waits, or more than 32
	// times as much within a quarter of a second of the last bytes that the client took.
	// Default 1,000,000.
	MaxQueue int
	// QueueVolatile lets volatile events wait while MaxQueue has room for them. By default,
	// they are dropped if they cannot leave at once.
	QueueVolatile bool
	// CompressFrom is the size in bytes from which messages over WebSocket are compressed, for
	// clients that have negotiated that (RFC 7692). Default 0: compression is not negotiated.
	CompressFrom int
	// Origins decides which web pages may connect. Default: those of the same origin.
	Origins *origin.Policy
	// KeepHeaders are the names of the request headers that a connection keeps, and that
	// authenticators see. Default Cookie, Authorization,
	// User-Agent.
	KeepHeaders []string
	// KeepValues returns what else a connection keeps of its request, by name. What it returns
	// must not refer to the request's memory. Default: nothing.
	KeepValues func(*http.Request) map[string]string
	// ClientIP returns the address of the client that sent a request. Default: that of
	// the peer, which may be a proxy.
	ClientIP func(*http.Request) string
	// Logger gets a line for each connection that opens or ends, and for each request that is
	// refused. Default: none.
	Logger *zap.Logger
}

// WithDefaults returns a copy in which each field that has its zero value has its default.
func (o Options) WithDefaults() Options {
	defaults.Set(&o.PingInterval, DefaultPingInterval)
	defaults.Set(&o.PingTimeout, DefaultPingTimeout)
	defaults.Set(&o.MaxPayload, DefaultMaxPayload)
	defaults.Set(&o.MaxQueue, DefaultMaxQueue)
	if o.KeepHeaders == nil {
		o.KeepHeaders = defaults.KeepHeaders
	}
	if o.ClientIP == nil {
		o.ClientIP = defaults.ClientIP
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return o
}
