package caddy

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// Recovery are the options of connection state recovery: a Socket.IO client
// whose connection broke gets its socket back, with its id, user, data and
// rooms, and with the events that it missed. If that is not possible, the client learns
// that it has a new socket. As with Socket.IO's own server, each event then has one more
// argument.
//
// Recovery survives restarts: at exit, the sockets, the events that their clients missed
// and the secrets by which clients recover are saved in Caddy's storage. The next start
// reads them from there.
type Recovery struct {
	// Window is how long a client may be away, a restart included, such as 2m.
	Window caddy.Duration `json:"window"`

	// MaxEvents is how many events of each namespace are held for clients that
	// are away; of 32 MB at most. Default 10000.
	MaxEvents int `json:"max_events_per_namespace,omitempty"`
}

func (r *Recovery) validate() error {
	switch {
	case r == nil:
		return nil
	case r.Window <= 0:
		return errors.New("recovery: window must be a positive duration such as 2m; to turn recovery off, leave it out")
	case r.MaxEvents < 0:
		return fmt.Errorf("recovery: max_events_per_namespace is %d; it must be positive, or left out", r.MaxEvents)
	}
	return nil
}

// settings returns the options as those of a hub. r may be nil.
func (r *Recovery) settings() realtime.Recovery {
	if r == nil {
		return realtime.Recovery{}
	}
	return realtime.Recovery{Window: time.Duration(r.Window), MaxEvents: r.MaxEvents}
}
