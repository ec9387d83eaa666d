package guests

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func init() { caddy.RegisterModule(new(SocketSuite)) }

// SocketSuite is the application that the tests of socket.io-client expect. In the namespace /abc it
// emits "handshake" on connect. In /foo it handles only getId, in / all of these:
//
//	hi            emits hi
//	echo          acks with the first argument
//	ack           emits ack; to the answer 5 and {"test":true} it emits "got it"
//	getId         acks with the socket's id
//	getHandshake  acks with what the client sent with its handshake
//	getAckDate    acks with the time
//	getDate       emits takeDate with the time; getDateObj emits takeDateObj with an object that has it
//	getUtf8       emits takeUtf8 with five texts, one after the other
//	false         emits false with false
//	doge          emits doge with binary data
//	buffa         emits buffack, if its argument is binary
//	jsonbuff      emits jsonbuff-ack, if its argument is the object that the test sends, with a binary member
//	abuff1        remembers that it came, if its argument is binary
//	abuff2        emits abuff2-ack, if abuff1 came before
//
// An event fails if it is not as a test sends it. SocketSuite handles all other events, too, and
// never acks them: Socket.IO's own server does so with events that have no listener, while this
// server acks an event that no handler takes with an error.
type SocketSuite struct {
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// CaddyModule returns the Caddy module information.
func (*SocketSuite) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.handlers.suite", New: func() caddy.Module { return new(SocketSuite) }}
}

// Provision implements caddy.Provisioner.
func (s *SocketSuite) Provision(caddy.Context) error {
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return nil
}

// HandleConnect implements realtime.Handler.
func (*SocketSuite) HandleConnect(ctx context.Context, socket *realtime.Socket) {
	if socket.Namespace().Name() == "/abc" {
		_ = socket.Emit(ctx, "handshake", handshakeOf(socket)) // it fails if the socket is disconnected
	}
}

// HandleDisconnect implements realtime.Handler.
func (*SocketSuite) HandleDisconnect(context.Context, *realtime.Socket, string) {}

// utf8Texts are what the tests of multibyte characters expect.
var utf8Texts = []string{"てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"}

// HandleEvent implements realtime.Handler.
func (s *SocketSuite) HandleEvent(ctx context.Context, e *realtime.Event) (handled bool, err error) {
	socket := e.Socket
	name := socket.Namespace().Name()
	if name != "/" && (name != "/foo" || e.Name != "getId") {
		return true, nil
	}
	switch e.Name {
	case "hi":
		return true, socket.Emit(ctx, "hi")
	case "echo":
		return true, answer(e, e.Args[:min(1, len(e.Args))]...)
	case "ack":
		s.running.Go(func() { s.requestAck(socket) })
		return true, nil
	case "getId":
		return true, answer(e, realtime.String(socket.ID()))
	case "getHandshake":
		return true, answer(e, handshakeOf(socket))
	case "getAckDate":
		return true, answer(e, now())
	case "getDate":
		return true, socket.Emit(ctx, "takeDate", now())
	case "getDateObj":
		date, err := realtime.JSON(map[string]json.RawMessage{"date": now().JSON})
		if err != nil {
			return true, err
		}
		return true, socket.Emit(ctx, "takeDateObj", date)
	case "getUtf8":
		for _, text := range utf8Texts {
			if err := socket.Emit(ctx, "takeUtf8", realtime.String(text)); err != nil {
				return true, err
			}
		}
		return true, nil
	case "false":
		return true, socket.Emit(ctx, "false", realtime.Arg{JSON: json.RawMessage("false")})
	case "doge":
		return true, socket.Emit(ctx, "doge", realtime.Bytes([]byte("asdfasdf")))
	default:
		return true, handleBinary(ctx, e)
	}
}

// errUnexpected is the error of an event that is not as a test sends it.
var errUnexpected = &realtime.Error{Code: "unexpected", Message: "the event is not as expected"}

// handleBinary handles the events with binary data.
func handleBinary(ctx context.Context, e *realtime.Event) error {
	socket := e.Socket
	var reply string
	var ok bool
	switch e.Name {
	case "buffa":
		reply, ok = "buffack", isBinary(e.Args)
	case "jsonbuff":
		reply, ok = "jsonbuff-ack", isMixed(e.Args)
	case "abuff1":
		if isBinary(e.Args) {
			socket.SetData(map[string]json.RawMessage{"abuff1": json.RawMessage("true")})
			return nil
		}
	case "abuff2":
		reply = "abuff2-ack"
		_, ok = socket.Data()["abuff1"]
	default:
		return nil
	}
	if !ok {
		return errUnexpected
	}
	return socket.Emit(ctx, reply)
}

func isBinary(args []realtime.Arg) bool {
	if len(args) != 1 {
		return false
	}
	_, ok := args[0].AsBytes()
	return ok
}

// isMixed reports whether there is one object with texts and one binary member.
func isMixed(args []realtime.Arg) bool {
	var object struct {
		Hello, Goodbye string
		Message        struct {
			Placeholder bool `json:"_placeholder"`
		}
	}
	return len(args) == 1 && len(args[0].Binary) == 1 && json.Unmarshal(args[0].JSON, &object) == nil &&
		object.Hello == "lol" && object.Goodbye == "gotcha" && object.Message.Placeholder
}

// requestAck must not run in the handler: no answer is read while a handler runs.
func (s *SocketSuite) requestAck(socket *realtime.Socket) {
	ctx, cancel := context.WithTimeout(s.ctx, maxWait)
	defer cancel()
	args, err := socket.Request(ctx, "ack")
	if err != nil {
		return
	}
	var n int
	var object struct{ Test bool }
	if decode(args, &n, &object) == nil && n == 5 && object.Test {
		_ = socket.Emit(ctx, "got it") // it fails if the socket is disconnected
	}
}

// answer acks an event, if its client awaits that.
func answer(e *realtime.Event, args ...realtime.Arg) error {
	if e.Ack == nil {
		return nil
	}
	return e.Ack(args...)
}

// now is the time as clients in JavaScript write it.
func now() realtime.Arg {
	return realtime.String(time.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
}

func handshakeOf(socket *realtime.Socket) realtime.Arg {
	return realtime.Arg{JSON: socket.Data()["handshake"]}
}

// Cleanup implements caddy.CleanerUpper.
func (s *SocketSuite) Cleanup() error {
	if s.cancel != nil {
		s.cancel()
	}
	s.running.Wait()
	return nil
}

// UnmarshalCaddyfile sets up the handler; it has no options.
func (*SocketSuite) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// Interface guards.
var (
	_ realtime.Handler      = (*SocketSuite)(nil)
	_ caddy.Provisioner     = (*SocketSuite)(nil)
	_ caddy.CleanerUpper    = (*SocketSuite)(nil)
	_ caddyfile.Unmarshaler = (*SocketSuite)(nil)
)
