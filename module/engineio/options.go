package engineio

import (
	"cmp"
	"slices"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/internal/defaults"
)

// The defaults, which are those of Socket.IO's own server where it has the setting.
const (
	DefaultUpgradeTimeout = 10 * time.Second
	DefaultCompressFrom   = 1024
	DefaultMaxHeaders     = 16 << 10 // what Node.js takes in all
)

// Options are the settings of a Server. The zero value of a field means its
// default.
type Options struct {
	// The settings that are not Engine.IO's own. Clients of Engine.IO 3 send the pings
	// themselves: one every PingInterval, which may be late by PingTimeout. MaxPayload also
	// limits the size of a POST. Answers to polling are compressed from CompressFrom bytes on,
	// or from DefaultCompressFrom where it is 0.
	connection.Options

	// UpgradeTimeout is how long a client may take to move from polling to
	// WebSocket once it has begun. Default 10 s.
	UpgradeTimeout time.Duration
	// EIO3 lets in clients of Engine.IO 3, which are those of Socket.IO 2, too.
	// It applies to handshakes: open sessions go on when it changes. JSONP is never served.
	EIO3 bool
	// Transports are those that are served, by their names: "polling",
	// "websocket". They apply to handshakes and upgrades: open sessions go on when they
	// change. Default: both.
	Transports []string
	// MaxHeaders is how many bytes of a handshake's request are kept at most: its
	// URL, and the headers and values that KeepHeaders and KeepValues name. A request with
	// more is answered 431. Default 16384.
	MaxHeaders int
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

// speaks reports whether a handshake is served whose packets are in a codec.
func (o *Options) speaks(c *codec) bool { return c == codec4 || c == codec3 && o.EIO3 }

// WithDefaults returns a copy that has no zero values.
func (o Options) WithDefaults() *Options {
	o.Options = o.Options.WithDefaults()
	defaults.Set(&o.UpgradeTimeout, DefaultUpgradeTimeout)
	defaults.Set(&o.MaxHeaders, DefaultMaxHeaders)
	if len(o.Transports) == 0 {
		o.Transports = transportNames
	}
	return &o
}

// compressPollingFrom returns the size in bytes from which answers to polling
// are compressed.
func (o *Options) compressPollingFrom() int { return cmp.Or(o.CompressFrom, DefaultCompressFrom) }
