package plainws

import (
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/defaults"
	"github.com/caddy-realtime/caddy-realtime/module/origin"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// The defaults, which are those of Socket.IO's own server.
const (
	DefaultPingInterval = 25 * time.Second
	DefaultPingTimeout  = 20 * time.Second
	DefaultMaxPayload   = 1_000_000
	DefaultMaxQueue     = 1_000_000
)

// Options are the settings of a Server. The zero value of a field means its
// default.
type Options struct {
	// PingInterval is how long after a pong the next ping frame is sent.
	// Default 25 s.
	PingInterval time.Duration
	// PingTimeout is how long a client may take to answer. Default 20 s.
	PingTimeout time.Duration
	// MaxPayload is the size in bytes of the largest message. Default 1,000,000.
	MaxPayload int64
	// MaxQueue is how many bytes may wait for a connection whose peer takes nothing,
	// with what it costs to keep them. A connection is closed as a slow consumer
	// where more has waited while its peer took nothing for 5 s; or where more than
	// 16 times as much waits: 32 times within a quarter of a second of the last that
	// it took. Default 1,000,000.
	MaxQueue int
	// QueueVolatile has volatile events wait as long as MaxQueue has room for them.
	// Default: they are dropped where they cannot leave at once.
	QueueVolatile bool
	// Limits bound what one client can take.
	Limits realtime.Limits
	// CompressFrom is the size in bytes from which messages are compressed, for
	// clients that have negotiated it (RFC 7692). Default 0: no client can, and
	// none are.
	CompressFrom int
	// Origins decides which web pages may connect. Default: the same origin.
	Origins *origin.Policy
	// KeepHeaders are the names of the request headers that authenticators see.
	// Default Cookie, Authorization, User-Agent.
	KeepHeaders []string
	// KeepValues returns what else of a handshake's request is kept, by name: what
	// it returns must hold nothing of the request alive. Default: nothing.
	KeepValues func(*http.Request) map[string]string
	// ClientIP returns the address of the client that sent a request. Default:
	// the peer's.
	ClientIP func(*http.Request) string
	// Logger gets a line for each connection that opens or ends, and for each
	// request refused. Default: none.
	Logger *zap.Logger
}

// WithDefaults returns a copy that has no zero values.
func (o Options) WithDefaults() *Options {
	defaults.Set(&o.PingInterval, DefaultPingInterval)
	defaults.Set(&o.PingTimeout, DefaultPingTimeout)
	defaults.Set(&o.MaxPayload, DefaultMaxPayload)
	defaults.Set(&o.MaxQueue, DefaultMaxQueue)
	o.Limits = o.Limits.WithDefaults()
	if o.KeepHeaders == nil {
		o.KeepHeaders = defaults.KeepHeaders
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.ClientIP == nil {
		o.ClientIP = defaults.ClientIP
	}
	return &o
}
