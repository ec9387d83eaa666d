package guests

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func init() { caddy.RegisterModule(new(Echo)) }

// Echo is an application that does what events ask for. On connect it emits "auth" with
// what the client sent to authenticate itself, as the handlers of Socket.IO's own
// protocol test suite do. If no authenticator kept it, the argument is null. The
// events:
//
//	message           emits message-back with the same arguments
//	message-with-ack  acks with the same arguments
//	whoami            acks with what is known of the socket
//	label             acks with the label of this configuration
//	never             handles the event and never acks it
//	fail              fails with an error of the server
//	ask e …           sends the event e with the rest to the client, and acks with its answer
//	                  or its error
//	flood n size      emits n events "drop" with their numbers and size bytes each, then acks
//	tick              emits events "tick" with their numbers until there is an event "tock",
//	                  which acks with the number of them
//	hold key          emits "holding", waits for "release" with the key, and acks with the
//	                  label
//	release key       see hold
//	enter room        joins the room, and acks
//	spread to e …     sends the event e with the rest to the room, or to everyone if that is
//	                  "", and acks
//	tell id e …       sends e to the socket with the id if it is connected, or else to its
//	                  room, and acks
//	kick, kick all    disconnects the socket; with "all", the client
//	join r …          joins rooms, and acks
//	leave r …         leaves rooms, and acks
//	send whom e …     emits the event e with the rest to whom, a selection, then acks
//	ended id          waits until the socket with the id is disconnected, and acks with the
//	                  reason
//
// It must not be used after Cleanup, and panics if it is.
type Echo struct {
	// Label distinguishes configurations.
	Label string `json:"label,omitempty"`

	ctx         context.Context
	cancel      context.CancelFunc
	running     sync.WaitGroup
	cleaned     atomic.Bool
	ticking     sync.Map // *realtime.Socket → *ticker
	disconnects sync.Map // socket's id → *disconnect
}

// maxWait bounds every wait for a client.
const maxWait = 30 * time.Second

// CaddyModule returns the Caddy module information.
func (*Echo) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.handlers.echo", New: func() caddy.Module { return new(Echo) }}
}

// Provision implements caddy.Provisioner.
func (e *Echo) Provision(caddy.Context) error {
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return nil
}

// HandleConnect implements realtime.Handler.
func (e *Echo) HandleConnect(ctx context.Context, s *realtime.Socket) {
	e.assertAlive()
	auth, ok := s.Data()["auth"]
	if !ok {
		auth = json.RawMessage("null")
	}
	_ = s.Emit(ctx, "auth", realtime.Arg{JSON: auth})
}

// HandleDisconnect implements realtime.Handler.
func (e *Echo) HandleDisconnect(_ context.Context, s *realtime.Socket, why string) {
	e.assertAlive()
	e.disconnectOf(s.ID()).say(why)
	if t, ok := e.ticking.LoadAndDelete(s); ok {
		t.(*ticker).stop()
	}
}

// HandleEvent implements realtime.Handler.
func (e *Echo) HandleEvent(ctx context.Context, event *realtime.Event) (handled bool, err error) {
	e.assertAlive()
	s := event.Socket
	ack := event.Ack
	if ack == nil {
		ack = func(...realtime.Arg) error { return nil }
	}
	switch event.Name {
	case "message":
		return true, s.Emit(ctx, "message-back", event.Args...)
	case "message-with-ack":
		return true, ack(event.Args...)
	case "whoami":
		return true, ack(describe(s))
	case "label":
		return true, ack(realtime.String(e.Label))
	case "never":
		return true, nil
	case "fail":
		return true, errors.New("a secret of the server's")
	case "ask":
		name, args, err := nameAndRest(event.Args)
		if err != nil {
			return true, err
		}
		e.running.Go(func() { e.ask(s, name, args, ack) })
	case "flood":
		var n, size int
		if err := decode(event.Args, &n, &size); err != nil {
			return true, err
		}
		e.running.Go(func() { e.flood(s, n, size, ack) })
	case "tick":
		t := &ticker{done: make(chan struct{}), stopped: make(chan int, 1)}
		e.ticking.Store(s, t)
		e.running.Go(func() { t.run(e.ctx, s) })
	case "tock":
		t, ok := e.ticking.LoadAndDelete(s)
		if !ok {
			return true, &realtime.Error{Code: "not_ticking", Message: "send tick first"}
		}
		e.running.Go(func() { _ = ack(number(t.(*ticker).stop())) })
	case "hold":
		var key string
		if err := decode(event.Args, &key); err != nil {
			return true, err
		}
		return true, e.hold(s, key, ack)
	case "release":
		var key string
		if err := decode(event.Args, &key); err != nil {
			return true, err
		}
		close(gate(key))
		return true, ack()
	case "enter":
		var room string
		if err := decode(event.Args, &room); err != nil {
			return true, err
		}
		s.Join(room)
		return true, ack()
	case "spread", "tell":
		to, args, err := nameAndRest(event.Args)
		if err != nil {
			return true, err
		}
		name, args, err := nameAndRest(args)
		if err != nil {
			return true, err
		}
		if err := send(ctx, s.Namespace(), event.Name == "tell", to, name, args); err != nil {
			return true, err
		}
		return true, ack()
	case "kick":
		return true, s.Disconnect(len(event.Args) > 0)
	case "join", "leave":
		rooms := make([]string, len(event.Args))
		for i := range rooms {
			if err := decode(event.Args[i:i+1], &rooms[i]); err != nil {
				return true, err
			}
		}
		if event.Name == "join" {
			s.Join(rooms...)
		} else {
			s.Leave(rooms...)
		}
		return true, ack()
	case "send":
		if err := sendTo(ctx, s, event.Args); err != nil {
			return true, err
		}
		return true, ack()
	case "ended":
		var id string
		if err := decode(event.Args, &id); err != nil {
			return true, err
		}
		e.running.Go(func() { e.ackReason(id, ack) })
	default:
		return false, nil
	}
	return true, nil
}

// A selection says who gets an event: the members of rooms or the whole namespace,
// without the members of other rooms. The sender gets it only if it is for everyone.
type selection struct {
	To       []string `json:"to"`
	Except   []string `json:"except"`
	Everyone bool     `json:"everyone"`
	Volatile bool     `json:"volatile"`
}

func sendTo(ctx context.Context, s *realtime.Socket, args []realtime.Arg) error {
	if len(args) == 0 {
		return &realtime.Error{Code: "bad_argument", Message: "whom to send to is missing"}
	}
	var whom selection
	if err := decode(args[:1], &whom); err != nil {
		return err
	}
	name, rest, err := nameAndRest(args[1:])
	if err != nil {
		return err
	}
	b := s.To(whom.To...)
	if whom.Everyone {
		b = s.Namespace().To(whom.To...)
	}
	if b = b.Except(whom.Except...); whom.Volatile {
		b = b.Volatile()
	}
	return b.Emit(ctx, name, rest...)
}

// A disconnect is the reason for which a socket was disconnected, or will be.
type disconnect struct {
	once sync.Once
	said chan struct{} // closed when why is known
	why  string
}

func (e *Echo) disconnectOf(id string) *disconnect {
	end, _ := e.disconnects.LoadOrStore(id, &disconnect{said: make(chan struct{})})
	return end.(*disconnect)
}

func (e *disconnect) say(why string) {
	e.once.Do(func() {
		e.why = why
		close(e.said)
	})
}

func (e *Echo) ackReason(id string, ack func(...realtime.Arg) error) {
	end := e.disconnectOf(id)
	select {
	case <-end.said:
		_ = ack(realtime.String(end.why))
	case <-time.After(maxWait):
	case <-e.ctx.Done():
	}
}

// ask must not run in the handler: no answer is read while a handler runs.
func (e *Echo) ask(s *realtime.Socket, name string, args []realtime.Arg, ack func(...realtime.Arg) error) {
	ctx, cancel := context.WithTimeout(e.ctx, maxWait)
	if name == "unanswered" {
		ctx, cancel = context.WithTimeout(e.ctx, 100*time.Millisecond)
	}
	defer cancel()
	answer, err := s.Request(ctx, name, args...)
	if err != nil {
		_ = ack(realtime.String("error"), realtime.String(err.Error()))
		return
	}
	_ = ack(answer...)
}

func send(ctx context.Context, n *realtime.Namespace, alone bool, to, event string, args []realtime.Arg) error {
	if to == "" {
		return n.To().Emit(ctx, event, args...)
	}
	if s, ok := n.Socket(to); ok && alone && s.Emit(ctx, event, args...) == nil {
		return nil
	}
	return n.To(to).Emit(ctx, event, args...)
}

func (e *Echo) flood(s *realtime.Socket, n, size int, ack func(...realtime.Arg) error) {
	ballast := realtime.String(strings.Repeat("x", size))
	for i := range n {
		if s.Emit(e.ctx, "drop", number(i), ballast) != nil {
			return
		}
	}
	_ = ack(number(n))
}

func (e *Echo) hold(s *realtime.Socket, key string, ack func(...realtime.Arg) error) error {
	if err := s.Emit(e.ctx, "holding"); err != nil {
		return err
	}
	select {
	case <-gate(key):
	case <-time.After(maxWait):
		return errors.New("nobody released " + key)
	}
	e.assertAlive() // an event that is being handled keeps its settings in use
	return ack(realtime.String(e.Label))
}

// gates outlive configurations: an event that is held under one configuration is
// released under the next.
var gates sync.Map // key → chan struct{}

func gate(key string) chan struct{} {
	g, _ := gates.LoadOrStore(key, make(chan struct{}))
	return g.(chan struct{})
}

// Cleanup implements caddy.CleanerUpper.
func (e *Echo) Cleanup() error {
	e.cleaned.Store(true)
	if e.cancel != nil {
		e.cancel()
	}
	e.running.Wait()
	return nil
}

func (e *Echo) assertAlive() {
	if e.cleaned.Load() {
		panic("the handler is used after its cleanup")
	}
}

// A ticker emits numbered events until it is stopped.
type ticker struct {
	done    chan struct{}
	stopped chan int // how many
}

func (t *ticker) run(ctx context.Context, s *realtime.Socket) {
	clock := time.NewTicker(time.Millisecond)
	defer clock.Stop()
	for i := 0; ; i++ {
		select {
		case <-clock.C:
			_ = s.Emit(ctx, "tick", number(i))
			continue
		case <-t.done:
		case <-ctx.Done():
		}
		t.stopped <- i
		return
	}
}

// stop returns the number of events.
func (t *ticker) stop() int {
	close(t.done)
	return <-t.stopped
}

func describe(s *realtime.Socket) realtime.Arg {
	arg, err := realtime.JSON(struct {
		ID    string                     `json:"id"`
		User  string                     `json:"user"`
		Rooms []string                   `json:"rooms"`
		Data  map[string]json.RawMessage `json:"data"`
	}{s.ID(), s.User(), append([]string{}, s.Rooms()...), s.Data()})
	if err != nil {
		panic(err)
	}
	return arg
}

func number(n int) realtime.Arg {
	arg, err := realtime.JSON(n)
	if err != nil {
		panic(err)
	}
	return arg
}

func nameAndRest(args []realtime.Arg) (name string, rest []realtime.Arg, err error) {
	if len(args) == 0 {
		return "", nil, &realtime.Error{Code: "bad_argument", Message: "an event's name is missing"}
	}
	return name, args[1:], decode(args[:1], &name)
}

// decode decodes as many arguments as there are values.
func decode(args []realtime.Arg, values ...any) error {
	if len(args) != len(values) {
		return &realtime.Error{Code: "bad_argument", Message: "the number of arguments is wrong"}
	}
	for i, value := range values {
		if err := json.Unmarshal(args[i].JSON, value); err != nil {
			return &realtime.Error{Code: "bad_argument", Message: err.Error()}
		}
	}
	return nil
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	handler echo [<label>]
func (e *Echo) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the guest's name
	if d.NextArg() {
		e.Label = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// Interface guards
var (
	_ realtime.Handler      = (*Echo)(nil)
	_ caddy.Provisioner     = (*Echo)(nil)
	_ caddy.CleanerUpper    = (*Echo)(nil)
	_ caddyfile.Unmarshaler = (*Echo)(nil)
)
