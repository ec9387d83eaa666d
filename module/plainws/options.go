package plainws

import (
	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// Options are the settings of a Server. The zero value of a field means its
// default.
type Options struct {
	connection.Options

	// Limits bound what one client can take.
	Limits realtime.Limits
}

// WithDefaults returns a copy that has no zero values.
func (o Options) WithDefaults() *Options {
	o.Options = o.Options.WithDefaults()
	o.Limits = o.Limits.WithDefaults()
	return &o
}
