package engineio_test

import (
	"context"
	"encoding/hex"
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
	"github.com/caddy-realtime/caddy-realtime/module/origin"
)

// TestScenarios plays testdata/scenarios: what a server says to its clients,
// packet by packet. The package scenario explains how to read them; app adds
//
//	set <option> <value>       changes one of engineio.Options
//	send <session> <text>      sends a message; "binary" does with hex
//	volatile <session> <text>  sends a message if it leaves at once
//	end <session> <reason>     closes a session
//	resume                     lets the receiver return from a message "wait"
//	release                    closes the release channel of Server.Serve
//	drain <window>             closes the server
func TestScenarios(t *testing.T) {
	scenario.Run(t, "testdata/scenarios/*.txt", func(p *scenario.Play) http.Handler {
		return newApp(p).handler()
	})
}

// An app is what uses the server: it shows what its receivers get.
type app struct {
	play     *scenario.Play
	server   *engineio.Server
	options  atomic.Pointer[engineio.Options]
	released chan struct{}
	resume   chan struct{}

	mu       sync.Mutex
	sessions map[string]*engineio.Session
}

func newApp(p *scenario.Play) *app {
	a := &app{
		play:     p,
		released: make(chan struct{}),
		resume:   make(chan struct{}),
		sessions: make(map[string]*engineio.Session),
	}
	a.options.Store(engineio.Options{Options: connection.Options{Logger: p.Logger}}.WithDefaults())
	a.server = engineio.NewServer(a.options.Load, a.accept)

	p.Command("set", a.set)
	p.Command("send", a.send)
	p.Command("binary", a.binary)
	p.Command("volatile", func(args string) {
		if id, _, _ := strings.Cut(args, " "); a.session(id).Writable() {
			a.send(args)
		}
	})
	p.Command("end", func(args string) {
		id, why, _ := strings.Cut(args, " ")
		a.session(id).Close(why)
	})
	p.Command("resume", func(string) { a.resume <- struct{}{} })
	p.Command("release", func(string) { close(a.released) })
	p.Command("drain", func(args string) { go a.drain(duration(args)) })
	p.Cleanup(func() {
		close(a.resume)
		if err := a.server.Close(context.Background(), 0); err != nil {
			p.Error(err)
		}
	})
	return a
}

func (a *app) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.server.Serve(w, r, a.released) })
}

func (a *app) accept(s *engineio.Session) engineio.Receiver {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions[s.ID()] = s
	return receiver{a, s}
}

func (a *app) session(id string) *engineio.Session {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sessions[id]
}

// set changes an option, for sessions that are open too.
func (a *app) set(args string) {
	o := *a.options.Load()
	name, value, _ := strings.Cut(args, " ")
	switch name {
	case "PingInterval":
		o.PingInterval = duration(value)
	case "PingTimeout":
		o.PingTimeout = duration(value)
	case "UpgradeTimeout":
		o.UpgradeTimeout = duration(value)
	case "MaxPayload":
		o.MaxPayload = int64(number(value))
	case "MaxQueue":
		o.MaxQueue = number(value)
	case "EIO3":
		o.EIO3 = value == "true"
	case "Transports":
		o.Transports = strings.Fields(value)
	case "CompressFrom":
		o.CompressFrom = number(value)
	case "Origins":
		policy, err := origin.New(strings.Fields(value)...)
		if err != nil {
			panic(err)
		}
		o.Origins = policy
	default:
		panic("no option " + name)
	}
	a.options.Store(&o)
}

func (a *app) send(args string) {
	id, text, _ := strings.Cut(args, " ")
	a.emit(id, engineio.Packet{Type: engineio.Message, Data: []byte(text)})
}

func (a *app) binary(args string) {
	id, text, _ := strings.Cut(args, " ")
	data, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	a.emit(id, engineio.Packet{Type: engineio.Message, Binary: true, Data: data})
}

func (a *app) emit(id string, packet engineio.Packet) {
	if err := a.session(id).Send(engineio.NewPacketGroup(packet)); err != nil {
		a.play.Say("send", "%s", err)
	}
}

func (a *app) drain(window time.Duration) {
	if err := a.server.Close(context.Background(), window); err != nil {
		a.play.Say("app", "%s", err)
	}
	a.play.Say("app", "drained")
}

// A receiver shows what its session gets.
type receiver struct {
	app     *app
	session *engineio.Session
}

func (r receiver) Receive(p engineio.Packet, batch *engineio.Batch) {
	switch text := string(p.Data); {
	case p.Binary:
		r.app.play.Say("app", "%s binary %x", r.session.ID(), p.Data)
	case text == "wait":
		r.app.play.Say("app", "%s waits", r.session.ID())
		<-r.app.resume
	default:
		r.app.play.Say("app", "%s message %s", r.session.ID(), text)
	}
	if answer, ok := strings.CutPrefix(string(p.Data), "answer "); ok {
		_ = r.session.SendIn(batch, engineio.NewPacketGroup(engineio.Packet{Type: engineio.Message, Data: []byte(answer)}))
	}
}

func (r receiver) Closed(reason string) {
	r.app.play.Say("app", "%s closed: %s", r.session.ID(), reason)
}

func duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return d
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}
