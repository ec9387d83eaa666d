package caddy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/drain"
	"github.com/caddy-realtime/caddy-realtime/caddy/internal/handover"
	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
	"github.com/caddy-realtime/caddy-realtime/module/plainws"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
	"github.com/caddy-realtime/caddy-realtime/module/socketio"
	"github.com/caddy-realtime/caddy-realtime/module/webhook"
)

// entrances returns settings with the given paths of Socket.IO and plain WebSockets. An empty path
// turns Socket.IO off.
func entrances(namespace, socketioPath string, webSockets ...WebSocket) *settings {
	s := testSettings(namespace)
	s.socketioPath, s.webSockets = socketioPath, webSockets
	s.socketio, s.plain = socketio.Options{}.WithDefaults(), plainws.Options{}.WithDefaults()
	return s
}

// TestDropInAnyOrder drops references in orders that Caddy does not use today.
func TestDropInAnyOrder(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		e := testEndpoint(t)
		names := []string{"/a", "/b", "/c"}
		var references []*reference
		for _, name := range names {
			references = append(references, use(e, testSettings(name)))
		}
		var dropped []int
		for _, i := range order {
			newest := -1
			for j := range names {
				if !slices.Contains(dropped, j) {
					newest = j
				}
			}
			for j, name := range names {
				if e.Allows(name) != (j == newest) {
					t.Errorf("order %v, after %v: admits %s: %v", order, dropped, name, e.Allows(name))
				}
			}
			if err := references[i].drop(t.Context()); err != nil {
				t.Fatal(err)
			}
			dropped = append(dropped, i)
		}
		select {
		case <-e.closing:
		default:
			t.Errorf("order %v: the endpoint is not closed", order)
		}
	}
}

// TestNewestBackend drops references with a backend, and one without, in any order. The newest
// backend that is left is told of disconnects, and the last one until the end.
func TestNewestBackend(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2, 3}, {2, 1, 0, 3}, {3, 0, 2, 1}, {3, 2, 1, 0}, {1, 3, 0, 2}} {
		e := testEndpoint(t)
		told := make(chan int, 1)
		var references []*reference
		for i := range order {
			s := testSettings("/")
			if i != 1 {
				s.backend = &Backend{options: webhook.Options{URL: "http://backend/", Transport: toldTo(func() { told <- i })}}
				s.policy.Handlers = []realtime.Handler{s.backend}
			}
			references = append(references, use(e, s))
		}
		var dropped []int
		for _, i := range order {
			newest := -1
			for j := range order {
				if j != 1 && !slices.Contains(dropped, j) {
					newest = j
				}
			}
			if current := e.current.Load().settings.backend; current != nil {
				s, err := e.hub.Namespace("/").Accept(t.Context(), &realtime.Handshake{Endpoint: e.Endpoint}, realtime.Identity{}, new(inbox))
				if err != nil {
					t.Fatal(err)
				}
				s.HandleDisconnect("transport close")
				select {
				case got := <-told:
					if got != newest {
						t.Errorf("order %v, after %v: backend %d is told, want %d", order, dropped, got, newest)
					}
				case <-time.After(testcaddy.Patience):
					t.Fatalf("order %v, after %v: no backend is told", order, dropped)
				}
			}
			if err := references[i].drop(t.Context()); err != nil {
				t.Fatal(err)
			}
			dropped = append(dropped, i)
		}
		if n := e.disconnects.Lost(); n != 0 {
			t.Errorf("order %v: %d are lost", order, n)
		}
	}
}

// toldTo is a transport to a backend that takes everything it is told.
type toldTo func()

// RoundTrip implements http.RoundTripper.
func (f toldTo) RoundTrip(*http.Request) (*http.Response, error) {
	f()
	return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody}, nil
}

// TestEntrances checks the servers of an endpoint as configurations start and stop.
func TestEntrances(t *testing.T) {
	json, raw := WebSocket{"/ws", "json"}, WebSocket{"/ws", "raw"}
	other := WebSocket{"/other", "json"}
	e := testEndpoint(t)
	check := func(step string, hasSocketIO bool, plain ...WebSocket) {
		t.Helper()
		v := e.servers.Load()
		if (v.socketio != nil) != hasSocketIO {
			t.Errorf("%s: Socket.IO is served: %v", step, v.socketio != nil)
		}
		for _, ws := range []WebSocket{json, raw, other} {
			if want := slices.Contains(plain, ws); (v.plain[ws] != nil) != want {
				t.Errorf("%s: %v is served: %v", step, ws, !want)
			}
		}
		if v.connections() != 0 {
			t.Errorf("%s: there are connections", step)
		}
	}
	check("new", false)
	first := use(e, entrances("/1", "/socket.io/", json))
	check("first", true, json)
	kept, keptPlain := e.servers.Load().socketio, e.servers.Load().plain[json]

	second := use(e, entrances("/2", "/elsewhere/", json, other))
	check("second", true, json, other)
	if err := first.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("second alone", true, json, other)
	if v := e.servers.Load(); v.socketio != kept || v.plain[json] != keptPlain {
		t.Error("a server that is still needed was replaced: its connections are lost")
	}

	third := use(e, entrances("/3", "", raw))
	check("third", true, json, raw, other)
	if err := second.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("third alone", false, raw)

	// The newest configuration may be dropped first, as if it had failed to start.
	fourth := use(e, entrances("/4", "/socket.io/", json))
	check("fourth", true, json, raw)
	if err := fourth.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("third again", false, raw)
	if err := third.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestAcquire uses settings while references are taken and dropped. None are used after they have
// been dropped, when their guests are cleaned up.
func TestAcquire(t *testing.T) {
	e := testEndpoint(t)
	const configurations = 100
	var cleaned [configurations + 1]atomic.Bool
	index := make(map[*realtime.Policy]int)
	all := make([]*settings, len(cleaned))
	for i := range all {
		all[i] = testSettings("/")
		index[&all[i].policy] = i
	}
	current := use(e, all[0])
	done := make(chan struct{})
	var using sync.WaitGroup
	var uses atomic.Int64
	for range 4 {
		using.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				policy, release := e.acquire()
				i, ok := index[policy]
				if !ok {
					t.Error("a policy that nobody has configured")
				}
				if cleaned[i].Load() {
					t.Errorf("the settings %d are used after they were dropped", i)
				}
				uses.Add(1)
				if cleaned[i].Load() {
					t.Errorf("the settings %d were dropped while they are used", i)
				}
				release()
				runtime.Gosched()
			}
		})
	}
	for i := range configurations {
		next := use(e, all[i+1])
		for before := uses.Load(); i%10 == 0 && uses.Load() < before+10; {
			runtime.Gosched() // lets the other goroutines run
		}
		if err := current.drop(context.Background()); err != nil {
			t.Fatal(err)
		}
		cleaned[i].Store(true)
		current = next
	}
	close(done)
	using.Wait()
	if err := current.drop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if current.acquire() {
		t.Error("settings that nobody uses any more are acquired")
	}
}

// TestCloseOnce closes an endpoint several times at once, as an exit does by the event and by Stop.
func TestCloseOnce(t *testing.T) {
	e := testEndpoint(t)
	l := use(e, entrances("/", "/socket.io/"))
	var closing sync.WaitGroup
	for range 3 {
		closing.Go(func() {
			if err := e.close(context.Background(), 0); err != nil {
				t.Error(err)
			}
		})
	}
	closing.Go(func() {
		if err := l.drop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	closing.Wait()
	w := httptest.NewRecorder()
	e.servers.Load().socketio.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=polling", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("a closed endpoint answers %d", w.Code)
	}
}

// TestCloseInTime closes an endpoint whose connections do not end. close returns when its context
// ends.
func TestCloseInTime(t *testing.T) {
	e := testEndpoint(t)
	l := use(e, testSettings("/"))
	_, release := e.acquire()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errors.New("no patience"))
	defer cancel()
	if err := l.drop(ctx); err == nil || err.Error() != "no patience" {
		t.Error(err)
	}
	release()
	<-l.idle
}

// TestEndpointComesBack configures an endpoint again while the former endpoint of its name is still
// closing, since a handler of its connections has not returned.
func TestEndpointComesBack(t *testing.T) {
	h, err := newHub("test", hubBroker{}, new(generations))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Destruct() }()
	old := h.endpoint("test")
	use(old, entrances("/", "/socket.io/"))
	stuck := make(chan struct{}) // closed when the old endpoint is
	old.mu.Lock()
	old.closing = stuck
	old.mu.Unlock()
	if err := old.servers.Load().close(t.Context(), 0); err != nil {
		t.Fatal(err)
	}

	again := h.endpoint("test")
	l := use(again, entrances("/", "/socket.io/"))
	w := httptest.NewRecorder()
	again.servers.Load().socketio.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=polling", nil))
	if w.Code != http.StatusOK {
		t.Errorf("a new client is answered %d", w.Code)
	}
	close(stuck)
	h.remove(old)
	if h.endpoint("test") != again {
		t.Error("the new endpoint went with the old one")
	}
	if err := l.drop(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestServeHTTP calls the handler without a server. Some requests come before the start, and others
// come for a server that has been removed.
func TestServeHTTP(t *testing.T) {
	e := testEndpoint(t)
	s := entrances("/", "/socket.io/", WebSocket{"/ws", "json"})
	s.name = e.name
	s.healthPath = "/health"
	life, fail := context.WithCancel(t.Context())
	newApp := func() *App {
		app := &App{ctx: caddy.Context{Context: life}, generation: newGeneration(), generations: e.hub.generations}
		app.exit = drain.New(caddy.Context{})
		app.listeners = handover.New(zap.NewNop(), nil)
		return app
	}
	app := newApp()
	r := newReference(app.generation, s, e.hub, 0)
	h := &Handler{app: app, reference: r}
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusTeapot)
		return nil
	})
	serve := func(ctx context.Context, path string) (int, error) {
		w := httptest.NewRecorder()
		err := h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil), next)
		return w.Code, err
	}
	// Requests for other paths do not wait.
	for _, path := range []string{"/", "/socket.iox", "/socket.i", "/ws//", "/wsx", "/WS", "/health/", "/healthz", "/socket.iO/"} {
		if status, err := serve(t.Context(), path); status != http.StatusTeapot || err != nil {
			t.Errorf("%s: %d, %v", path, status, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, path := range []string{"/socket.io/", "/socket.io/x", "/socket.io", "/ws", "/ws/", "/health"} {
		if _, err := serve(gone, path); !errors.Is(err, context.Canceled) {
			t.Errorf("%s before the start: %v", path, err)
		}
	}
	never := &Handler{app: newApp(), reference: r}
	app.generations.add(app.generation)
	e.take(r)
	close(app.started)
	for path, want := range map[string]int{"/socket.io/": 400, "/socket.io": 400, "/ws": 426, "/ws/": 426, "/health": 200} {
		if status, err := serve(t.Context(), path); status != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", path, status, err, want)
		}
	}
	e.servers.Store(new(servers))
	for _, path := range []string{"/socket.io/", "/socket.io", "/ws", "/ws/"} {
		_, err := serve(t.Context(), path)
		if failed, ok := errors.AsType[caddyhttp.HandlerError](err); !ok || failed.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s, which is gone: %v", path, err)
		}
	}
	fail() // this configuration never starts
	w := httptest.NewRecorder()
	if err := never.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/health", nil), next); err != nil || w.Code != http.StatusOK {
		t.Errorf("beside one that goes on: %d, %v", w.Code, err)
	}
	if err := r.drop(t.Context()); err != nil {
		t.Error(err)
	}
	err := never.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/health", nil), next)
	if failed, ok := errors.AsType[caddyhttp.HandlerError](err); !ok || failed.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("an endpoint that never starts: %v", err)
	}
}

// TestHealthDraining asks for the health of a hub that drains.
func TestHealthDraining(t *testing.T) {
	h, err := newHub("exits", hubBroker{}, new(generations))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Destruct() }()
	ask := func(query string) (int, string) {
		w := httptest.NewRecorder()
		h.serveHealth(w, httptest.NewRequest(http.MethodGet, "/health"+query, nil), "off")
		if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", w.Header())
		}
		return w.Code, w.Body.String()
	}
	details := `"hub":"exits","node":"` + h.Node() + `","sockets":0,"transports":{"polling":0,"websocket":0},"rooms":0,"broker":"memory","draining":`
	for query, want := range map[string]string{
		"":                      `{"websocket":{"enabled":true,"connections":0}}`,
		"?verbose=0":            `{"websocket":{"enabled":true,"connections":0}}`,
		"?verbose":              `{"websocket":{"enabled":true,"connections":0}}`,
		"?verbose=1":            `{"websocket":{"enabled":true,"connections":0},` + details + `false,"handover":"off"}`,
		"?verbose=1&verbose=00": `{"websocket":{"enabled":true,"connections":0},` + details + `false,"handover":"off"}`,
	} {
		if status, body := ask(query); status != 200 || body != want {
			t.Errorf("%s: %d %s, want %s", query, status, body, want)
		}
	}
	e := h.endpoint("default")
	s := entrances("/", "/socket.io/")
	l := use(e, s)
	h.shut()
	h.shut()
	if status, body := ask(""); status != 503 || body != `{"websocket":{"enabled":false,"connections":0}}` {
		t.Errorf("draining: %d %s", status, body)
	}
	if status, body := ask("?verbose=1"); status != 503 || body != `{"websocket":{"enabled":false,"connections":0},`+details+`true,"handover":"off"}` {
		t.Errorf("draining: %d %s", status, body)
	}
	if err := l.drop(t.Context()); err != nil {
		t.Error(err)
	}
	w := httptest.NewRecorder()
	h.serveHealth(w, httptest.NewRequest(http.MethodDelete, "/health", nil), "off")
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("DELETE: %d %v", w.Code, w.Header())
	}
}

func TestClientIP(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "192.0.2.1:1234"
	if got := clientIP(r); got != "192.0.2.1:1234" && got != "192.0.2.1" {
		t.Error(got)
	}
	vars := map[string]any{caddyhttp.ClientIPVarKey: "203.0.113.7"}
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
	if got := clientIP(r); got != "203.0.113.7" {
		t.Error(got)
	}
}
