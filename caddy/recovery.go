package caddy

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// Recovery configures connection state recovery. A Socket.IO client whose connection broke gets its
// socket back, with its id, user, data and rooms, and with the events that it missed. If that is
// not possible, the client is told so. While recovery is on, each event has one more argument, as
// with Socket.IO's own server.
//
// Recovery works across restarts. At exit, Caddy's storage gets the state of the sockets, with the
// secrets by which clients get them back. The next start takes it from there.
type Recovery struct {
	// Window is how long a client may be away, such as "2m". The time of a restart counts.
	// Required.
	Window caddy.Duration `json:"window"`

	// MaxEvents is how many events of each namespace are held for disconnected clients. They are
	// held up to a size of 32 MB. Default 10000.
	MaxEvents int `json:"max_events_per_namespace,omitempty"`
}

func (r *Recovery) validate() error {
	switch {
	case r == nil:
		return nil
	case r.Window <= 0:
		return errors.New("recovery: window must be a positive duration such as 2m; " +
			"to turn recovery off, leave it out")
	case r.MaxEvents < 0:
		return fmt.Errorf("recovery: max_events_per_namespace is %d; "+
			"it must be positive, or left out", r.MaxEvents)
	}
	return nil
}

// settings returns the options for the hub. r may be nil.
func (r *Recovery) settings() realtime.Recovery {
	if r == nil {
		return realtime.Recovery{}
	}
	return realtime.Recovery{Window: time.Duration(r.Window), MaxEvents: r.MaxEvents}
}
