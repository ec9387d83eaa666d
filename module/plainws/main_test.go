package plainws

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
	"github.com/caddy-realtime/caddy-realtime/module/internal/scenario"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

var limits = realtime.Limits{}.WithDefaults()

func TestMain(m *testing.M) { leak.Main(m) }

// A fixture is a server on a network in memory, for use with synctest. Its connections have no
// file descriptors, like those with TLS.
type fixture struct {
	*Server
	hub      *realtime.Hub
	listener *scenario.Listener
	log      *observer.ObservedLogs

	mu      sync.Mutex
	policy  realtime.Policy
	options Options
	inUse   int
}

func start(t testing.TB, format Format, policy realtime.Policy, options Options) *fixture {
	t.Helper()
	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.InfoLevel)
	f := &fixture{hub: hub, log: logs, listener: scenario.Listen(), policy: policy, options: options}
	if f.options.Logger == nil {
		f.options.Logger = zap.New(core)
	}
	endpoint := realtime.NewEndpoint("test", hub, func() (*realtime.Policy, func()) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.inUse++
		p := f.policy
		return &p, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.inUse--
		}
	})
	f.Server = NewServer(endpoint, format, func() *Options {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.options.WithDefaults()
	})
	var requests sync.WaitGroup
	closed := false // guarded by f.mu
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		if !closed {
			requests.Add(1)
			defer requests.Done()
		}
		f.mu.Unlock()
		f.Server.ServeHTTP(w, r)
	})
	s := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(f.listener)
	}()
	t.Cleanup(func() {
		if err := f.Close(context.Background(), 0); err != nil {
			t.Error(err)
		}
		s.Close()
		<-done
		f.mu.Lock()
		closed = true
		f.mu.Unlock()
		requests.Wait() // http.Server does not wait for requests that were upgraded
		if sockets, rooms := hub.Stats(); sockets != 0 || rooms != 0 {
			t.Errorf("%d sockets and %d rooms are left", sockets, rooms)
		}
		if f.inUse != 0 {
			t.Errorf("the policy is still in use %d times", f.inUse)
		}
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// dial connects a client, or returns the response of a server that refuses it.
func (f *fixture) dial(header http.Header, query string) (*websocket.Conn, *http.Response, error) {
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return f.listener.Dial(ctx) }}
	return d.Dial("ws://rt.example.com/ws"+query, header)
}

// connect connects a client, which must not be refused.
func (f *fixture) connect(t testing.TB) *websocket.Conn {
	t.Helper()
	ws, _, err := f.dial(nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	return ws
}

// join connects a client of the JSON format, and returns the id of its socket.
func (f *fixture) join(t testing.TB) (ws *websocket.Conn, id string) {
	t.Helper()
	ws = f.connect(t)
	var hello struct {
		Event string
		Args  []struct{ ID string }
	}
	if err := ws.ReadJSON(&hello); err != nil || hello.Event != "connect" || len(hello.Args) != 1 {
		t.Fatalf("the first frame is %v, %v", hello, err)
	}
	return ws, hello.Args[0].ID
}

func (f *fixture) namespace() *realtime.Namespace { return f.hub.Namespace("/") }

// causes returns the errors in the log lines of connections that have ended.
func (f *fixture) causes() (causes []string) {
	for _, entry := range f.log.FilterMessage("disconnected").All() {
		if cause, ok := entry.ContextMap()["error"].(string); ok {
			cause, _, _ = strings.Cut(cause, ":")
			causes = append(causes, cause)
		}
	}
	return causes
}

// reasons returns the reasons in the log lines of connections that have ended.
func (f *fixture) reasons() []string {
	var all []string
	for _, line := range f.log.FilterMessage("disconnected").All() {
		all = append(all, line.ContextMap()["reason"].(string))
	}
	return all
}

// read returns the next message, or the error that there is none.
func read(ws *websocket.Conn) string {
	opcode, payload, err := ws.ReadMessage()
	switch {
	case err != nil:
		return err.Error()
	case opcode == websocket.BinaryMessage:
		return "binary " + string(payload)
	}
	return string(payload)
}

// closeCode reads until the connection ends, and returns the code of the close frame, or 0 if
// there is none.
func closeCode(ws *websocket.Conn) int {
	for {
		if _, _, err := ws.ReadMessage(); err != nil {
			if closed, ok := errors.AsType[*websocket.CloseError](err); ok && closed.Code != websocket.CloseAbnormalClosure {
				return closed.Code
			}
			return 0
		}
	}
}

func write(t testing.TB, ws *websocket.Conn, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			t.Error(err)
		}
	}
}

// A guest is a realtime.Handler made of functions. A nil function does nothing.
type guest struct {
	connect    func(*realtime.Socket)
	event      func(context.Context, *realtime.Event) (bool, error)
	disconnect func(*realtime.Socket, string)
}

func (g guest) HandleConnect(_ context.Context, s *realtime.Socket) {
	if g.connect != nil {
		g.connect(s)
	}
}

func (g guest) HandleEvent(ctx context.Context, e *realtime.Event) (bool, error) {
	if g.event != nil {
		return g.event(ctx, e)
	}
	return false, nil
}

func (g guest) HandleDisconnect(_ context.Context, s *realtime.Socket, why string) {
	if g.disconnect != nil {
		g.disconnect(s, why)
	}
}

// answers is a handler that answers each event with its arguments.
var answers = guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
	if e.Ack != nil {
		return true, e.Ack(e.Args...)
	}
	return true, e.Socket.Emit(context.Background(), e.Name+"-back", e.Args...)
}}

// An authenticatorFunc is a realtime.Authenticator made of a function.
type authenticatorFunc func(context.Context, *realtime.Handshake) (realtime.Identity, error)

func (f authenticatorFunc) Authenticate(ctx context.Context, _ string, h *realtime.Handshake) (realtime.Identity, error) {
	return f(ctx, h)
}

func handled(handlers ...realtime.Handler) realtime.Policy {
	return realtime.Policy{Handlers: handlers}
}

// quiet are options without heartbeats.
var quiet = Options{Options: connection.Options{PingInterval: 24 * time.Hour}}

// A hook is a logger's core that calls a function with each message.
type hook func(message string)

func (hook) Enabled(zapcore.Level) bool          { return true }
func (h hook) With([]zapcore.Field) zapcore.Core { return h }
func (hook) Sync() error                         { return nil }

func (h hook) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.AddCore(e, h)
}

func (h hook) Write(e zapcore.Entry, _ []zapcore.Field) error {
	h(e.Message)
	return nil
}
