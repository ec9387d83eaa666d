package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestConnect(t *testing.T) {
	asked := make(chan *message, 1)
	w := serve(t, Options{Forward: []string{"cookie"}}, func(m *message) (int, string) {
		if m.Type != typeConnect {
			return 204, ""
		}
		asked <- m
		return 200, `{"user":7,"data":{"role":"admin","more":{"deep":[1]}},"join":["org:o1"],"expires_at":"2999-01-01T00:00:00Z","later":true,
			"emit":[{"event":"welcome","args":[{"$binary":"AQI="}]},{"to":["org:o1"],"event":"joined","args":["u1"]},{"users":["7"],"event":"mine"}]}`
	})
	c := w.connect()
	m := <-asked
	checkSchema(t, "connect-request", m.body)
	for name, want := range map[string]string{
		"Cookie": "sid=s1", "Authorization": "", "Content-Type": "application/json", "User-Agent": "caddy-realtime",
		"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "rt.example.com:8443",
	} {
		if got := m.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if len(m.header.Get("Traceparent")) != 55 || m.header.Get("Webhook-Id") == "" || m.header.Get("Webhook-Signature") != "" {
		t.Errorf("the headers are %v", m.header)
	}
	var body struct {
		Data struct {
			Socket, Request map[string]any
			Auth            json.RawMessage
		}
	}
	if err := json.Unmarshal(m.body, &body); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(body.Data.Request); got != "map[headers:map[user-agent:test] path:/socket.io/ query:map[tag:[x y] tenant:a]]" {
		t.Errorf("the request is %s", got)
	}
	if string(body.Data.Auth) != `{"token":"<t>"}` || body.Data.Socket["id"] != c.socket.ID() || body.Data.Socket["user"] != nil {
		t.Errorf("the body is %s", m.body)
	}
	s := c.socket
	if s.User() != "7" || string(s.Data()["more"]) != `{"deep":[1]}` || !slices.Equal(s.Rooms(), []string{"org:o1"}) {
		t.Errorf("the socket is %q %s %q", s.User(), s.Data(), s.Rooms())
	}
	if got := c.got(); !slices.Equal(got, []string{`welcome [{"$binary":"AQI="}]`, `joined ["u1"]`, `mine []`}) {
		t.Errorf("the client got %q", got)
	}
}

// TestConnectAnswers has what clients learn of answers that do not let them in.
func TestConnectAnswers(t *testing.T) {
	const unavailable = "unavailable"
	wrong := func(what string) string {
		return "403 the backend's answer is wrong: " + what + ` {"code":"backend_bad_answer"}`
	}
	for _, tt := range []struct {
		status int
		body   string
		want   string // "<status> <message> <data>"
	}{
		{401, ``, "401 not authorized "},
		{403, `<html>`, "403 not authorized "},
		{401, `{"error":{"message":"log in","data":{"why":1}}}`, `401 log in {"why":1}`},
		{403, `{"error":{"code":"banned","message":"go away"}}`, `403 go away {"code":"banned"}`},
		{422, `{"error":{"message":"which tenant?"}}`, "403 which tenant? "},
		{400, ``, "403 not authorized "},
		{404, `not found`, "403 not authorized "},
		{419, `<html>`, "403 not authorized "},
		{408, ``, unavailable},
		{425, ``, unavailable},
		{429, `{"error":{"message":"later"}}`, unavailable},
		{500, ``, unavailable},
		{503, `{"error":{"message":"later"}}`, unavailable},
		{401, "{\"error\":{\"message\":\"log in\",\"data\":\"\xff\"}}", "401 not authorized "},
		{302, ``, "403 not authorized "},
		{200, `{`, wrong("the answer must be JSON, or empty")},
		{200, "{\"data\":{\"name\":\"\xff\"}}", wrong("the answer must be in UTF-8")},
		{200, `[]`, ""},
		{200, `{"user":{}}`, wrong("user must be a string")},
		{200, `{"join":[""]}`, wrong("join[0] is empty")},
		{200, `{"emit":[{"event":"connect"}]}`, wrong(`emit[0].event must be another name than "connect", which is Socket.IO's own`)},
		{200, `{"data":{"a":"` + strings.Repeat("x", maxAnswer) + `"}}`, wrong("the answer has more than 4194304 bytes")},
		{204, ``, ""},
		{200, ``, ""},
		{200, `{"user":null,"data":null,"join":null,"expires_at":null}`, ""},
	} {
		t.Run(fmt.Sprint(tt.status, " ", tt.body[:min(len(tt.body), 40)]), func(t *testing.T) {
			w := serve(t, Options{}, func(*message) (int, string) { return tt.status, tt.body })
			_, err := w.hub.Namespace("/").Connect(t.Context(), w.handshake(), new(client))
			got := ""
			if refusal, ok := errors.AsType[*realtime.ConnectError](err); ok {
				got = fmt.Sprintf("%d %s %s", refusal.Status, refusal.Message, refusal.Data)
			} else if err != nil {
				got = unavailable
			}
			if got != tt.want {
				t.Errorf("the client gets %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

func TestAcceptOnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		w := local(t, Options{AcceptOnError: true, Logger: zap.New(core)}, func(*message) (int, string) { return 500, "" })
		c := w.connect()
		if c.socket.User() != "" || len(c.socket.Data()) > 0 {
			t.Errorf("the socket is %q %s", c.socket.User(), c.socket.Data())
		}
		w.connect()
		if n := logs.FilterMessage("client is let in without an identity").Len(); n != 1 {
			t.Errorf("%d lines of it, want 1 in a second", n)
		}
	})
}

// TestClientGivesUp: a client that goes while the backend is asked for it, as a
// plain WebSocket's can, is let in by nothing and is no error of the operator's.
func TestClientGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		asked := make(chan struct{})
		w := newWorld(t, Options{URL: "http://backend/realtime", AcceptOnError: true, Logger: zap.New(core), Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			close(asked)
			<-r.Context().Done()
			return nil, r.Context().Err()
		})})
		ctx, goAway := context.WithCancel(t.Context())
		go func() {
			<-asked
			goAway()
		}()
		if _, err := w.backend.Authenticate(ctx, "/", w.handshake()); err == nil || !errors.Is(err, context.Canceled) {
			t.Errorf("the client gets %v", err)
		}
		for _, entry := range logs.All() {
			if entry.Level > zap.InfoLevel {
				t.Errorf("%s: %s %v", entry.Level, entry.Message, entry.ContextMap())
			}
		}
	})
}

func TestEvent(t *testing.T) {
	asked := make(chan *message, 1)
	w := serve(t, Options{}, func(m *message) (int, string) {
		switch m.Type {
		case typeConnect:
			return 200, `{"user":"u1","data":{"role":"guest","org":"o1"},"join":["lobby"]}`
		case typeEvent:
			asked <- m
			return 200, `{"ack":[{"ok":true},{"$binary":"AQI="}],"join":["order:7"],"leave":["lobby"],"data":{"role":"admin"},
				"emit":[{"to":["order:7"],"event":"created","args":[1]},{"to":["lobby"],"event":"left"},{"event":"yours"},
					{"to":["order:7"],"except":["order:7"],"event":"never"},{"to":["x"],"namespace":"/tenant-1","event":"elsewhere"}],
				"disconnect":{"reason":"done","close":true}}`
		}
		return 204, ""
	})
	c := w.connect()
	if got := c.ask(t, "order:create", realtime.String("<x>"), realtime.Bytes([]byte{1, 2})); got != `[{"ok":true},{"$binary":"AQI="}]` {
		t.Errorf("the ack is %s", got)
	}
	m := <-asked
	checkSchema(t, "event-request", m.body)
	for _, part := range []string{`"event":"order:create","args":["<x>",{"$binary":"AQI="}],"wants_ack":true`, `"user":"u1","seq":1,"rooms":["lobby"]`, `"role":"guest"`} {
		if !strings.Contains(string(m.body), part) {
			t.Errorf("%s\nhas no %s", m.body, part)
		}
	}
	if m.header.Get("Cookie") != "" || m.header.Get("X-Forwarded-For") != "203.0.113.7" {
		t.Errorf("the headers are %v", m.header)
	}
	var got []string
	for len(got) < 4 {
		got = append(got, c.got()...)
		time.Sleep(time.Millisecond)
	}
	if !slices.Equal(got, []string{"created [1]", "yours []", `ack [{"ok":true},{"$binary":"AQI="}]`, "closed"}) {
		t.Errorf("the client got %q", got)
	}
	if role := string(c.socket.Data()["role"]); role != `"admin"` || len(c.socket.Data()) != 2 {
		t.Errorf("the data is %s", c.socket.Data())
	}
}

// TestEventAnswers has what acks get.
func TestEventAnswers(t *testing.T) {
	const unavailable = `[{"error":{"code":"backend_unavailable","message":"the backend did not answer the event"}}]`
	wrong := func(what string) string {
		return `[{"error":{"code":"backend_bad_answer","message":"the backend's answer is wrong: ` + what + `"}}]`
	}
	for _, tt := range []struct {
		status     int
		body, want string
	}{
		{204, ``, `[]`},
		{200, `{}`, `[]`},
		{200, `{"ack":[]}`, `[]`},
		{200, `{"ack":[null,"x"],"other":1}`, `[null,"x"]`},
		{422, `{"error":{"code":"no_stock","message":"none left"}}`, `[{"error":{"code":"no_stock","message":"none left"}}]`},
		{409, `conflict`, `[{"error":{"code":"conflict","message":"the backend refused the event"}}]`},
		{404, ``, `[{"error":{"code":"not_found","message":"the backend refused the event"}}]`},
		{500, `{"error":{"code":"no_stock","message":"none left"}}`, unavailable},
		{302, ``, wrong("the answer must not be a redirect")},
		{429, ``, `[{"error":{"code":"too_many_requests","message":"the backend refused the event"}}]`},
		{200, `{"ack":{}}`, wrong("ack must be an array of arguments; for one that is an object, write [{…}]")},
		{200, `{"ack":[{"$binary":"?"}],"join":["never"]}`, wrong("ack[0] is no argument: decoding $binary: illegal base64 data at input byte 0")},
		{200, `<html>`, wrong("the answer must be JSON, or empty")},
		{200, "{\"ack\":[\"\xff\"],\"join\":[\"never\"]}", wrong("the answer must be in UTF-8")},
	} {
		t.Run(fmt.Sprint(tt.status, " ", tt.body), func(t *testing.T) {
			w := serve(t, Options{}, func(m *message) (int, string) {
				if m.Type != typeEvent {
					return 204, ""
				}
				return tt.status, tt.body
			})
			c := w.connect()
			if got := c.ask(t, "e"); got != tt.want {
				t.Errorf("the ack is %s, want %s", got, tt.want)
			}
			if rooms := c.socket.Rooms(); len(rooms) > 0 {
				t.Errorf("the socket has joined %q", rooms)
			}
		})
	}
}

// TestAcceptOnErrorRefuses: what the backend refuses is refused, whatever the
// options say of a backend that is away.
func TestAcceptOnErrorRefuses(t *testing.T) {
	for status, accepted := range map[int]bool{302: false, 400: false, 401: false, 404: false, 419: false, 408: true, 425: true, 429: true, 500: true, 503: true} {
		w := serve(t, Options{AcceptOnError: true}, func(*message) (int, string) { return status, "" })
		_, err := w.hub.Namespace("/").Connect(t.Context(), w.handshake(), new(client))
		if (err == nil) != accepted {
			t.Errorf("with status %d a connect gets %v", status, err)
		}
	}
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{URL: "http://backend/realtime", EventTimeout: 50 * time.Millisecond, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			slow := false
			answer, err := byApplication(func(m *message) (int, string) {
				slow = m.Type == typeEvent
				return 204, ""
			})(r)
			if !slow {
				return answer, err
			}
			<-r.Context().Done()
			return nil, context.Cause(r.Context())
		})})
		if got := w.connect().ask(t, "slow"); !strings.Contains(got, "backend_unavailable") {
			t.Errorf("the ack is %s", got)
		}
		inFlight, latencies := w.backend.options.Meter.Read()
		if l := latencies[typeEvent]; inFlight != 0 || l.Count != 1 || l.Failed != 1 || latencies[typeConnect].Failed != 0 {
			t.Errorf("the meter says %d %+v", inFlight, latencies)
		}
	})
}

// TestRepeat: a request is sent again only if nothing of it was sent.
func TestRepeat(t *testing.T) {
	var mu sync.Mutex
	attempts := make(map[string][]string) // by type: "<attempt> <error>"
	ids := make(map[string]bool)
	fail := map[string]error{"1": ErrNotSent, "2": fmt.Errorf("wrapped: %w", ErrNotSent), "3": nil}
	w := newWorld(t, Options{URL: "http://backend/realtime", Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		var err error
		response, _ := byApplication(func(m *message) (int, string) {
			mu.Lock()
			defer mu.Unlock()
			err = fail[strconv.Itoa(m.Attempt)]
			if m.Data.Event == "broken" {
				err = errors.New("connection reset")
			}
			attempts[m.Type] = append(attempts[m.Type], fmt.Sprint(m.Attempt, " ", err))
			if m.Type == typeConnect {
				ids[m.header.Get("Webhook-Id")] = true
			}
			return 204, ""
		})(r)
		if err != nil {
			return nil, err
		}
		return response, nil
	})})
	c := w.connect()
	if got := c.ask(t, "broken"); !strings.Contains(got, "backend_unavailable") {
		t.Errorf("the ack is %s", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := len(attempts[typeConnect]); got != 3 || len(ids) != 1 {
		t.Errorf("%d attempts to connect, with %d ids: %q", got, len(ids), attempts)
	}
	if got := len(attempts[typeEvent]); got != 1 {
		t.Errorf("%d attempts of an event that was sent: %q", got, attempts)
	}
}

// TestOwnRooms: whatever the backend says, nobody joins the room of a socket that
// is not its own.
func TestOwnRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		victim := ""
		w := local(t, Options{Logger: zap.New(core)}, func(m *message) (int, string) {
			if m.Type == typeDisconnect || victim == "" {
				return 204, ""
			}
			return 200, fmt.Sprintf(`{"join":["a",%q]}`, victim)
		})
		victim = w.connect().socket.ID()
		c := w.connect()
		if rooms := c.socket.Rooms(); !slices.Equal(rooms, []string{"a"}) {
			t.Errorf("on connect it joins %q", rooms)
		}
		c.socket.Leave("a")
		c.ask(t, "e")
		if rooms := c.socket.Rooms(); !slices.Equal(rooms, []string{"a"}) {
			t.Errorf("by an event it joins %q", rooms)
		}
		if n := logs.FilterMessage("answer has a room that is another socket's own").Len(); n != 1 {
			t.Errorf("%d lines of it, want 1 in a second", n)
		}
	})
}

// TestHeadersUnchanged: whatever is done to a request on its way, the next attempt
// and the next namespace have the handshake's headers.
func TestHeadersUnchanged(t *testing.T) {
	var cookies []string
	w := newWorld(t, Options{URL: "http://backend/realtime", Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		cookies = append(cookies, r.Header.Get("Cookie"))
		if values := r.Header["Cookie"]; len(values) > 0 {
			values[0] = "" // as request_header does in place
		}
		if len(cookies) == 1 {
			return nil, ErrNotSent
		}
		return byApplication(func(*message) (int, string) { return 204, "" })(r)
	})})
	h := w.handshake()
	for _, namespace := range []string{"/", "/tenant-1"} {
		if _, err := w.hub.Namespace(namespace).Connect(t.Context(), h, new(client)); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"sid=s1", "sid=s1", "sid=s1"}; !slices.Equal(cookies, want) {
		t.Errorf("the cookies were %q, want %q", cookies, want)
	}
}

// TestOneInFlight: a socket's events come one after the other, in order; those
// of several sockets at once, as many as there may be.
func TestOneInFlight(t *testing.T) {
	const limit, sockets, events = 3, 8, 20
	var all, most atomic.Int32
	full := make(chan struct{}) // closed when as many are in flight as there may be
	fill := sync.OnceFunc(func() { close(full) })
	var mu sync.Mutex
	busy := make(map[string]bool)
	last := make(map[string]float64)
	w := serve(t, Options{Concurrency: limit}, func(m *message) (int, string) {
		if m.Type != typeEvent {
			return 204, ""
		}
		for n := all.Add(1); ; {
			if old := most.Load(); n <= old || most.CompareAndSwap(old, n) {
				break
			}
		}
		defer all.Add(-1)
		if most.Load() >= limit {
			fill()
		}
		id, n := m.Data.Socket.ID, m.Data.Args[0].(float64)
		mu.Lock()
		if busy[id] || n != last[id]+1 {
			t.Errorf("event %v of a socket whose last was %v, busy %v", n, last[id], busy[id])
		}
		busy[id], last[id] = true, n
		mu.Unlock()
		<-full
		time.Sleep(time.Millisecond)
		mu.Lock()
		busy[id] = false
		mu.Unlock()
		return 200, `{"ack":[1]}`
	})
	// Where there are never as many, nobody waits for ever.
	give := time.AfterFunc(patience/2, fill)
	defer give.Stop()
	var done sync.WaitGroup
	for range sockets {
		c := w.connect()
		done.Go(func() {
			var acked sync.WaitGroup
			for i := range events {
				acked.Add(1)
				arg, _ := realtime.JSON(i + 1)
				c.socket.HandleEvent(t.Context(), "n", []realtime.Arg{arg}, func(*realtime.Batch, ...realtime.Arg) error { acked.Done(); return nil })
			}
			acked.Wait()
		})
	}
	done.Wait()
	if n := most.Load(); n != limit {
		t.Errorf("%d requests were in flight at a time, want %d", n, limit)
	}
}

// TestOtherEvents: what the backend does not handle goes on to the next handler.
func TestOtherEvents(t *testing.T) {
	w := serve(t, Options{Events: realtime.Globs{"order:*"}}, func(*message) (int, string) { return 204, "" })
	c := w.connect()
	if got := c.ask(t, "chat"); !strings.Contains(got, "unhandled_event") {
		t.Errorf("the ack is %s", got)
	}
	if got := c.ask(t, "order:create"); got != "[]" {
		t.Errorf("the ack is %s", got)
	}
}

// TestUnknownNamespace: what can be done of an answer is, and what cannot is logged.
func TestUnknownNamespace(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	w := serve(t, Options{Logger: zap.New(core)}, func(m *message) (int, string) {
		if m.Type != typeEvent {
			return 204, ""
		}
		return 200, `{"ack":[1],"emit":[{"to":["a"],"namespace":"/secret","event":"x"},{"namespace":"/tenant-1","event":"y"},{"event":"z"}]}`
	})
	c := w.connect()
	if got := c.ask(t, "e"); got != "[1]" {
		t.Errorf("the ack is %s", got)
	}
	if got := c.got(); !slices.Equal(got, []string{"z []", "ack [1]"}) {
		t.Errorf("the client got %q", got)
	}
	if n := logs.FilterMessage("answer to socket.event cannot be done").Len(); n != 1 {
		t.Errorf("%d lines of it, want 1", n)
	}
}
