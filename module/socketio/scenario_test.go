package socketio_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/internal/scenario"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
	"github.com/caddy-realtime/caddy-realtime/module/socketio"
)

// TestScenarios plays testdata/scenarios: what a server says to its clients,
// packet by packet. The package scenario explains how to read them; app adds
//
//	set ConnectTimeout <duration>
//	emit <socket> <event> <args>       sends an event; args are a JSON array, in which
//	volatile <socket> <event> <args>   a string "0x..." is binary
//	broadcast <event> <args>           sends it to everybody in "/"
//	request <socket> <event> <args>    sends it and shows the answer
//	answer <args>                      answers the event that came last
//	recovery <window> [<max>]          turns connection state recovery on, or off with 0s
//	queue <bytes> [drop_volatile]      limits what may wait for a session
//	limit <name> <n>                   sets one of the limits, or that of payloads
//	join <socket> <room>
//	to <room> <event> <args>           sends an event to everybody in the room
//	others <socket> <event> <args>     sends an event to everybody else
//	leave <socket>                     makes it leave its namespace
//	end <socket>                       and all others
//	resume                             lets what waits go on
//	drain                              closes the server
func TestScenarios(t *testing.T) {
	scenario.Run(t, "testdata/scenarios/*.txt", func(p *scenario.Play) http.Handler { return newApp(p).server })
}

// An app is a realtime.Handler and a realtime.Authenticator. It shows what it is called with.
// What it does depends on the event's name, or on the client's auth.
type app struct {
	play    *scenario.Play
	server  *socketio.Server
	options atomic.Pointer[socketio.Options]
	resume  chan struct{}

	mu      sync.Mutex
	sockets map[string]*realtime.Socket
	last    *realtime.Event
}

func newApp(p *scenario.Play) *app {
	a := &app{play: p, resume: make(chan struct{}), sockets: make(map[string]*realtime.Socket)}
	hub, err := realtime.NewHub(realtime.Options{Logger: p.Logger})
	if err != nil {
		p.Fatal(err)
	}
	endpoint := realtime.NewEndpoint("default", hub, func() (*realtime.Policy, func()) {
		return &realtime.Policy{
			Namespaces:     realtime.Globs{"/", "/custom", "/room-*"},
			Authenticators: []realtime.Authenticator{a},
			Handlers:       []realtime.Handler{a},
			Limits:         a.options.Load().Limits,
			Logger:         p.Logger,
		}, func() {}
	})
	a.options.Store(socketio.Options{Engine: engineio.Options{Options: connection.Options{Logger: p.Logger}, EIO3: true}}.WithDefaults())
	a.server = socketio.NewServer(endpoint, a.options.Load)

	p.Command("set", func(args string) {
		o := *a.options.Load()
		timeout, err := time.ParseDuration(strings.TrimPrefix(args, "ConnectTimeout "))
		if err != nil {
			p.Fatal(err)
		}
		o.ConnectTimeout = timeout
		a.options.Store(&o)
	})
	p.Command("emit", func(args string) {
		s, event, list := a.event(args)
		a.show(s.Emit(context.Background(), event, list...))
	})
	p.Command("volatile", func(args string) {
		s, event, list := a.event(args)
		a.show(s.Namespace().To(s.ID()).Volatile().Emit(context.Background(), event, list...))
	})
	p.Command("broadcast", func(args string) {
		event, list, _ := strings.Cut(args, " ")
		a.show(hub.Namespace("/").To().Emit(context.Background(), event, parseArgs(list)...))
	})
	p.Command("recovery", func(args string) {
		window, most, _ := strings.Cut(args, " ")
		var r realtime.Recovery
		var err error
		if r.Window, err = time.ParseDuration(window); err != nil {
			p.Fatal(err)
		}
		r.MaxEvents, _ = strconv.Atoi(most)
		hub.SetRecovery(r)
	})
	p.Command("queue", func(args string) {
		o := *a.options.Load()
		size, policy, _ := strings.Cut(args, " ")
		o.Engine.MaxQueue, _ = strconv.Atoi(size)
		o.Engine.QueueVolatile = policy == "drop_volatile"
		a.options.Store(&o)
	})
	p.Command("limit", func(args string) {
		name, value, _ := strings.Cut(args, " ")
		n, err := strconv.Atoi(value)
		if err != nil {
			p.Fatal(err)
		}
		o := *a.options.Load()
		fields := map[string]*int{
			"attachments": &o.Limits.Attachments,
			"arguments":   &o.Limits.Arguments,
			"depth":       &o.Limits.Depth,
			"namespaces":  &o.Limits.Namespaces,
			"event_name":  &o.Limits.EventName,
			"headers":     &o.Limits.Headers,
			"pending":     &o.Limits.Pending,
		}
		switch field, ok := fields[name]; {
		case name == "payload":
			o.Engine.MaxPayload = int64(n)
		case !ok:
			p.Fatalf("there is no limit %q", name)
		default:
			*field = n
		}
		a.options.Store(o.WithDefaults())
	})
	p.Command("join", func(args string) {
		id, room, _ := strings.Cut(args, " ")
		a.socket(id).Join(room)
	})
	p.Command("to", func(args string) {
		parts := strings.SplitN(args, " ", 3)
		a.show(hub.Namespace("/").To(parts[0]).Emit(context.Background(), parts[1], parseArgs(parts[2])...))
	})
	p.Command("others", func(args string) {
		s, event, list := a.event(args)
		a.show(s.To().Emit(context.Background(), event, list...))
	})
	p.Command("request", func(args string) { go a.request(a.event(args)) })
	p.Command("answer", func(args string) {
		a.mu.Lock()
		event := a.last
		a.mu.Unlock()
		a.show(event.Ack(parseArgs(args)...))
	})
	p.Command("leave", func(id string) { a.show(a.socket(id).Disconnect(false)) })
	p.Command("end", func(id string) { a.show(a.socket(id).Disconnect(true)) })
	p.Command("resume", func(string) { a.resume <- struct{}{} })
	p.Command("drain", func(string) { go a.close() })
	p.Cleanup(func() {
		close(a.resume)
		a.close()
		a.show(hub.Close())
		if sockets, rooms := hub.Stats(); sockets != 0 || rooms != 0 {
			p.Errorf("%d sockets and %d rooms are left", sockets, rooms)
		}
	})
	return a
}

func (a *app) close() {
	if err := a.server.Close(context.Background(), 0); err != nil {
		a.play.Error(err)
	}
}

func (a *app) socket(id string) *realtime.Socket {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sockets[id]
}

// event reads "<socket> <event> <args>".
func (a *app) event(text string) (s *realtime.Socket, event string, args []realtime.Arg) {
	parts := strings.SplitN(text, " ", 3)
	if a.socket(parts[0]) == nil {
		a.play.Fatalf("there is no socket %s", parts[0])
	}
	return a.socket(parts[0]), parts[1], parseArgs(parts[2])
}

func (a *app) request(s *realtime.Socket, event string, args []realtime.Arg) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	answer, err := s.Request(ctx, event, args...)
	// This is not a line of the app, which may learn at the same time that the socket has gone.
	if err != nil {
		a.play.Say("request", "error %s", err)
		return
	}
	a.play.Say("request", "is answered %s", formatArgs(answer))
}

func (a *app) show(err error) {
	if err != nil {
		a.play.Say("app", "error %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

// Authenticate implements realtime.Authenticator.
func (a *app) Authenticate(_ context.Context, _ string, h *realtime.Handshake) (realtime.Identity, error) {
	var auth struct {
		User   string
		Refuse string
		Data   json.RawMessage
		Break  bool
		Wait   bool
	}
	sent := h.Auth
	if strings.Contains(h.SocketID, h.Session) {
		a.play.Errorf("the id %s tells the session %s", h.SocketID, h.Session)
	}
	if h.Query.Get("EIO") == "3" { // of revision 4
		sent = authOfQuery(h)
	}
	if len(sent) > 0 {
		if err := json.Unmarshal(sent, &auth); err != nil {
			a.play.Error(err)
		}
	}
	switch {
	case auth.Wait:
		<-a.resume
	case auth.Break:
		return realtime.Identity{}, errors.New("the database is down")
	case auth.Refuse != "":
		return realtime.Identity{}, &realtime.ConnectError{Message: auth.Refuse, Data: auth.Data}
	}
	return realtime.Identity{User: auth.User}, nil
}

// authOfQuery returns the auth of a client of revision 4. For "/" it is the query of the
// connection, and for other namespaces a query of their own. A value is JSON, or text.
func authOfQuery(h *realtime.Handshake) json.RawMessage {
	var sent map[string]string
	if err := json.Unmarshal(h.Auth, &sent); err != nil {
		sent = make(map[string]string)
		for name := range h.Query {
			sent[name] = h.Query.Get(name)
		}
	}
	auth := make(map[string]any)
	for name, value := range sent {
		if auth[name] = value; json.Valid([]byte(value)) {
			auth[name] = json.RawMessage(value)
		}
	}
	all, err := json.Marshal(auth)
	if err != nil {
		panic(err)
	}
	return all
}

// HandleConnect implements realtime.Handler.
func (a *app) HandleConnect(_ context.Context, s *realtime.Socket) {
	a.mu.Lock()
	a.sockets[s.ID()] = s
	a.mu.Unlock()
	if s.Recovered() {
		a.play.Say("app", "%s is back in %s %s, rooms %q", s.ID(), s.Namespace().Name(), s.User(), s.Rooms())
		return
	}
	a.play.Say("app", "%s connects to %s %s", s.ID(), s.Namespace().Name(), s.User())
}

// HandleEvent implements realtime.Handler.
func (a *app) HandleEvent(ctx context.Context, e *realtime.Event) (handled bool, err error) {
	a.play.Say("app", "%s %s %s", e.Socket.ID(), e.Name, formatArgs(e.Args))
	a.mu.Lock()
	a.last = e
	a.mu.Unlock()
	switch e.Name {
	case "message": // as in the test suite of the protocol
		return true, e.Socket.Emit(ctx, "message-back", e.Args...)
	case "message-with-ack":
		return true, e.Ack(e.Args...)
	case "tell":
		return true, e.Socket.To().Emit(ctx, "told", e.Args...)
	case "wait":
		<-a.resume
		a.play.Say("app", "%s has waited", e.Socket.ID())
	case "leave":
		return true, e.Socket.Disconnect(false)
	case "refused":
		return false, &realtime.Error{Code: "sold_out", Message: "there is none left"}
	case "breaks":
		return false, errors.New("the database is down")
	case "unknown":
		return false, nil
	}
	return true, nil
}

// HandleDisconnect implements realtime.Handler.
func (a *app) HandleDisconnect(_ context.Context, s *realtime.Socket, reason string) {
	who := "app"
	if name := s.Namespace().Name(); name != "/" {
		// The sockets of one client may end at the same time.
		who = strings.Trim(strings.ReplaceAll(name, "-", "_"), "/")
	}
	a.play.Say(who, "%s disconnects: %s", s.ID(), reason)
}

// parseArgs reads arguments from a JSON array. A string "0x..." in the array is binary.
func parseArgs(list string) []realtime.Arg {
	var elements []json.RawMessage
	if err := json.Unmarshal([]byte(list), &elements); err != nil {
		panic(err)
	}
	args := make([]realtime.Arg, len(elements))
	for i, element := range elements {
		args[i].JSON = element
		if digits, ok := strings.CutPrefix(string(element), `"0x`); ok {
			data, err := hex.DecodeString(strings.TrimSuffix(digits, `"`))
			if err != nil {
				panic(err)
			}
			args[i] = realtime.Bytes(data)
		}
	}
	return args
}

// formatArgs is the inverse of parseArgs. An argument that is not all binary is followed by its
// binary parts.
func formatArgs(args []realtime.Arg) string {
	elements := make([]string, len(args))
	for i, arg := range args {
		if data, ok := arg.AsBytes(); ok {
			elements[i] = strconv.Quote("0x" + hex.EncodeToString(data))
			continue
		}
		elements[i] = string(arg.JSON)
		for _, part := range arg.Binary {
			elements[i] += " 0x" + hex.EncodeToString(part)
		}
	}
	return "[" + strings.Join(elements, ",") + "]"
}
