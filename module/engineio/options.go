package engineio

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/defaults"
	"github.com/caddy-realtime/caddy-realtime/module/origin"
)

// The defaults of Socket.IO's own server.
const (
	DefaultPingInterval   = 25 * time.Second
	DefaultPingTimeout    = 20 * time.Second
	DefaultUpgradeTimeout = 10 * time.Second
	DefaultMaxPayload     = 1_000_000
	DefaultMaxQueue       = 1_000_000
	DefaultCompressFrom   = 1024
	DefaultMaxHeaders     = 16 << 10 // what Node.js takes in all
)

// Options are the settings of a Server. The zero value of a field means its
// default.
type Options struct {
	// PingInterval is how long after a pong the next ping is sent. Default 25 s.
	// Clients of Engine.IO 3 send the pings, so often.
	PingInterval time.Duration
	// PingTimeout is how long a client may take to answer; one of Engine.IO 3,
	// how late its next ping may be. Default 20 s.
	PingTimeout time.Duration
	// UpgradeTimeout is how long a client may take to move from polling to
	// WebSocket once it has begun. Default 10 s.
	UpgradeTimeout time.Duration
	// MaxPayload is the size in bytes of the largest message, and of the
	// largest POST. Default 1,000,000.
	MaxPayload int64
	// MaxQueue is how many bytes may wait for a session that takes nothing, with
	// what it costs to keep them. A session is closed as a slow consumer where more
	// has waited while its client took nothing for 5 s, or over polling for
	// PingTimeout, if that is longer; or where more than 16 times as much waits: 32
	// times within a quarter of a second of the last that it took. Default 1,000,000.
	MaxQueue int
	// QueueVolatile has volatile events wait as long as MaxQueue has room for them.
	// Default: they are dropped where they cannot leave at once.
	QueueVolatile bool
	// EIO3 lets in clients of Engine.IO 3, which are those of Socket.IO 2, too.
	// It is about handshakes: who is in stays. JSONP is not served to anyone.
	EIO3 bool
	// Transports are those that are served, by their names: "polling",
	// "websocket". It is about handshakes and upgrades: who is in stays. Default:
	// both.
	Transports []string
	// CompressFrom is the size in bytes from which messages over WebSocket are
	// compressed, for clients that have negotiated it (RFC 7692). Default 0: no
	// client can, and none are. Answers to polling are compressed from this size
	// on, or from DefaultCompressFrom where it is 0.
	CompressFrom int
	// Origins decides which web pages may connect. Default: the same origin.
	Origins *origin.Policy
	// MaxHeaders is how many bytes of a handshake's request are kept at most: its
	// URL, and the headers and values that are named below. A request with more
	// is answered 431. Default 16384.
	MaxHeaders int
	// KeepHeaders are the names of the request headers that a session
	// remembers from its handshake. Default Cookie, Authorization, User-Agent.
	KeepHeaders []string
	// KeepValues returns what else of a handshake's request is kept, by name: what
	// it returns must hold nothing of the request alive. Default: nothing.
	KeepValues func(*http.Request) map[string]string
	// ClientIP returns the address of the client that sent a request. Default:
	// the peer's.
	ClientIP func(*http.Request) string
	// Logger gets a line for each session that opens, upgrades or ends, and
	// for each request refused. Default: none.
	Logger *zap.Logger
}

// serves reports whether a session may begin over a transport, or move to it.
func (o *Options) serves(transport string) bool { return slices.Contains(o.Transports, transport) }

// upgrades are the transports that a session over polling may move to.
func (o *Options) upgrades() []string {
	if o.serves(webSocketName) {
		return []string{webSocketName}
	}
	return []string{}
}

// speaks reports whether a handshake of a version is served.
func (o *Options) speaks(v version) bool { return v == version4 || v == version3 && o.EIO3 }

// WithDefaults returns a copy that has no zero values.
func (o Options) WithDefaults() *Options {
	defaults.Set(&o.PingInterval, DefaultPingInterval)
	defaults.Set(&o.PingTimeout, DefaultPingTimeout)
	defaults.Set(&o.UpgradeTimeout, DefaultUpgradeTimeout)
	defaults.Set(&o.MaxPayload, DefaultMaxPayload)
	defaults.Set(&o.MaxQueue, DefaultMaxQueue)
	defaults.Set(&o.MaxHeaders, DefaultMaxHeaders)
	if o.KeepHeaders == nil {
		o.KeepHeaders = defaults.KeepHeaders
	}
	if len(o.Transports) == 0 {
		o.Transports = transportNames
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.ClientIP == nil {
		o.ClientIP = defaults.ClientIP
	}
	return &o
}

// compressPollingFrom returns the size in bytes from which answers to polling
// are compressed.
func (o *Options) compressPollingFrom() int { return cmp.Or(o.CompressFrom, DefaultCompressFrom) }
