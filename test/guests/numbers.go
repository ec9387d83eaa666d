package guests

import (
	"context"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func init() { caddy.RegisterModule(new(Numbers)) }

// Numbers handles the event "told", whose arguments are a client's name and a number. Each number
// must follow the client's last one. The ack has the number. After a wrong number, each ack of the
// client says which number came in its place.
type Numbers struct{}

// told are the clients' last numbers, by name. They outlive configurations.
var told sync.Map // string → *last

type last struct {
	mu     sync.Mutex
	number int
	wrong  string
}

// CaddyModule returns the Caddy module information.
func (*Numbers) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.handlers.numbers", New: func() caddy.Module { return new(Numbers) }}
}

// HandleConnect implements realtime.Handler.
func (*Numbers) HandleConnect(context.Context, *realtime.Socket) {}

// HandleEvent implements realtime.Handler.
func (*Numbers) HandleEvent(_ context.Context, e *realtime.Event) (handled bool, err error) {
	if e.Name != "told" {
		return false, nil
	}
	var name string
	var n int
	if err := decode(e.Args, &name, &n); err != nil {
		return true, err
	}
	value, known := told.LoadOrStore(name, new(last))
	l := value.(*last)
	l.mu.Lock()
	defer l.mu.Unlock()
	if known && n != l.number+1 && l.wrong == "" {
		l.wrong = fmt.Sprintf("%d has come after %d", n, l.number)
	}
	l.number = n
	answer := number(n)
	if l.wrong != "" {
		answer = realtime.String(l.wrong)
	}
	_ = e.Ack(answer) // it fails if the client has gone
	return true, nil
}

// HandleDisconnect implements realtime.Handler.
func (*Numbers) HandleDisconnect(context.Context, *realtime.Socket, string) {}

// UnmarshalCaddyfile sets up the handler; it has no options.
func (*Numbers) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// Interface guards.
var (
	_ realtime.Handler      = (*Numbers)(nil)
	_ caddyfile.Unmarshaler = (*Numbers)(nil)
)
