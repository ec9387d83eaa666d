package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wal/waltest"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// TestLikelyCause: an answer that comes from something before the route is logged
// with what that may be; what an application says by itself is not.
func TestLikelyCause(t *testing.T) {
	const page = "<!doctype html><title>"
	for name, tt := range map[string]struct {
		status int
		header string // name: value
		body   string
		want   string // part of the likely cause; "" if nothing is logged
	}{
		"login":             {302, "Location: /login?next=/realtime", "", "login"},
		"login of another":  {307, "Location: https://sso.example.com/?token=t0ps3cret", "", "login"},
		"no location":       {302, "", "", "login"},
		"slash":             {301, "Location: /realtime/", "", "slash"},
		"https":             {308, "Location: https://backend/realtime", "", "https"},
		"basic auth":        {401, "WWW-Authenticate: Basic", "", "asks for a login"},
		"Laravel's CSRF":    {419, "Content-Type: text/html; charset=UTF-8", page, "CSRF"},
		"Django's CSRF":     {403, "Content-Type: text/html", page, "CSRF"},
		"no route":          {404, "Content-Type: text/html", page, "no such route"},
		"no route, bare":    {404, "", "", "no such route"},
		"no POST":           {405, "", "", "POST"},
		"too large":         {413, "", page, "smaller bodies"},
		"not JSON":          {415, "", "", "application/json"},
		"validation":        {422, "Content-Type: application/json", `{"detail":[{"loc":["body","text"]}]}`, "schema"},
		"some page":         {402, "Content-Type: text/html", page, "page"},
		"refused":           {403, "Content-Type: application/json", `{"error":{"code":"banned","message":"go away"}}`, ""},
		"refused by status": {401, "", "", ""},
		"plain text":        {409, "Content-Type: text/plain", "conflict", ""},
		"away":              {503, "Content-Type: text/html", page, ""},
		"login, with 200":   {200, "Content-Type: text/html", page, "login"},
		"good":              {204, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.WarnLevel)
				answer := http.StatusNoContent
				w := newWorld(t, Options{Logger: zap.New(core), URL: "http://backend/realtime", Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
					response := &http.Response{StatusCode: answer, Header: make(http.Header), Body: io.NopCloser(strings.NewReader(""))}
					if answer == tt.status {
						name, value, _ := strings.Cut(tt.header, ": ")
						response.Header.Set(name, value)
						response.Body = io.NopCloser(strings.NewReader(tt.body))
					}
					return response, nil
				})})
				c := w.connect()
				answer = tt.status
				c.ask(t, "e")
				_, _ = w.hub.Namespace("/").Connect(t.Context(), w.handshake(), new(client))
				time.Sleep(2 * time.Second) // and what is logged later
				lines := logs.FilterMessage("backend answers, but not as an application does that knows the protocol").All()
				if tt.want == "" {
					if len(lines) > 0 {
						t.Errorf("it is logged %v", lines)
					}
					return
				}
				if len(lines) == 0 {
					t.Fatal("it is not logged")
				}
				fields := lines[0].ContextMap()
				text := fmt.Sprint(fields)
				if cause := fmt.Sprint(fields["likely_cause"]); !strings.Contains(cause, tt.want) || strings.Contains(text, "t0ps3cret") {
					t.Errorf("the line has %v", fields)
				}
				for _, part := range []string{fmt.Sprint("status:", tt.status), "url:http://backend/realtime", "type:socket.event", "event:e"} {
					if !strings.Contains(text, part) {
						t.Errorf("the line %s has no %s", text, part)
					}
				}
			})
		})
	}
}

// TestRetryAfter: seconds or a date, and a bound.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for text, want := range map[string]time.Duration{
			"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "999999999": time.Minute, "99999999999999999999": 0,
			"-1": 0, "1.5": 0, "soon": 0,
			time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat): 30 * time.Second,
			time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):       0,
			time.Now().Add(time.Hour).UTC().Format(http.TimeFormat):        time.Minute,
		} {
			r := &reply{header: &replyHeader{retryAfter: text}}
			if got := r.retryAfter(time.Minute); got != want {
				t.Errorf("%q is %v, want %v", text, got, want)
			}
		}
		if got := (&reply{header: new(replyHeader)}).retryAfter(time.Minute); got != 0 {
			t.Errorf("without the header it is %v", got)
		}
	})
}

// answering returns a transport that answers messages of a type with a status and
// headers, and all others with 204.
func answering(kind string, answer func() (status int, header http.Header, err error)) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		of := ""
		response, _ := byApplication(func(m *message) (int, string) {
			of = m.Type
			return 204, ""
		})(r)
		if of != kind {
			return response, nil
		}
		status, header, err := answer()
		if err != nil {
			return nil, err
		}
		return &http.Response{StatusCode: status, Header: header, Body: http.NoBody}, nil
	}
}

// TestRetryUnknown: what may have been received is sent again only if the options
// say so, by the same id.
func TestRetryUnknown(t *testing.T) {
	for _, kind := range []string{typeConnect, typeEvent} {
		for _, unknown := range []bool{false, true} {
			t.Run(fmt.Sprint(kind, " ", unknown), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					core, logs := observer.New(zap.ErrorLevel)
					ids := make(map[string]int)
					failing := 0
					transport := answering(kind, func() (int, http.Header, error) {
						if failing == 0 {
							return 204, nil, nil
						}
						failing--
						return 0, nil, errors.New("connection reset")
					})
					w := newWorld(t, Options{RetryUnknown: unknown, Logger: zap.New(core), URL: "http://backend/realtime", Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
						ids[r.Header.Get("Webhook-Id")]++
						return transport(r)
					})})
					c := w.connect()
					clear(ids)
					failing = 3
					want, ack := 1, `[{"error":{"code":"backend_unavailable","message":"the backend did not answer the event"}}]`
					if unknown {
						want, ack = 4, "[]"
					}
					if kind == typeEvent {
						if got := c.ask(t, "e"); got != ack {
							t.Errorf("the ack is %s", got)
						}
					} else if _, err := w.hub.Namespace("/").Connect(t.Context(), w.handshake(), new(client)); (err == nil) != unknown {
						t.Errorf("the connect gets %v", err)
					}
					for id, n := range ids {
						if n != want || len(ids) != 1 {
							t.Errorf("%s was sent %d times, of %d messages", id, n, len(ids))
						}
					}
					lines := logs.FilterMessage("backend is unavailable").All()
					switch {
					case unknown && len(lines) > 0:
						t.Errorf("it is logged %v", lines)
					case !unknown && (len(lines) != 1 || lines[0].ContextMap()["sent"] != "unknown"):
						t.Errorf("it is logged %v", lines)
					}
				})
			})
		}
	}
}

// TestSentRemainsUnknown: a request of which an earlier attempt may have been
// received is logged so, though the last attempt was not sent.
func TestSentRemainsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.ErrorLevel)
		attempts := 0
		w := newWorld(t, Options{RetryUnknown: true, Logger: zap.New(core), URL: "http://backend/realtime", Transport: answering(typeEvent, func() (int, http.Header, error) {
			attempts++
			if attempts == 1 {
				return 0, nil, errors.New("connection reset")
			}
			return 0, nil, ErrNotSent
		})})
		w.connect().ask(t, "e")
		lines := logs.FilterMessage("backend is unavailable").All()
		if attempts < 2 || len(lines) != 1 || lines[0].ContextMap()["sent"] != "unknown" {
			t.Errorf("after %d attempts, it is logged %v", attempts, lines)
		}
	})
}

// TestWrongIsFinal: with RetryUnknown, too, an answer that is wrong is an answer.
func TestWrongIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		w := local(t, Options{RetryUnknown: true}, func(m *message) (int, string) {
			if m.Type != typeEvent {
				return 204, ""
			}
			asked++
			return []int{500, 200}[asked%2], "{"
		})
		c := w.connect()
		c.ask(t, "e")
		c.ask(t, "e")
		if asked != 2 {
			t.Errorf("two events were sent %d times", asked)
		}
	})
}

// TestStoppingBackend: to a backend that says so nothing is sent for a while, and
// what waits is sent then.
func TestStoppingBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopping := false
		var times []time.Time
		transport := &hangingUp{RoundTripper: answering(typeEvent, func() (int, http.Header, error) {
			times = append(times, time.Now())
			if stopping {
				return 204, http.Header{"Retry-After": {"2"}}, nil
			}
			return 204, nil, nil
		})}
		w := newWorld(t, Options{URL: "http://backend/realtime", Transport: transport})
		c, other := w.connect(), w.connect()
		stopping = true
		began := time.Now()
		c.ask(t, "last")
		stopping = false
		if took := time.Since(began); took > 0 {
			t.Errorf("the event itself took %v", took)
		}
		other.ask(t, "first")
		if took := time.Since(began); took != 2*time.Second || len(times) != 2 {
			t.Errorf("the next event was answered after %v, and %d sent", took, len(times))
		}
		// No connection that was open before is used afterwards.
		if want := []time.Duration{0, 2 * time.Second}; len(transport.times) != 2 || transport.times[0].Sub(began) != want[0] || transport.times[1].Sub(began) != want[1] {
			t.Errorf("connections were closed at %v", transport.times)
		}
		// Whoever has no time left is told that it was not sent.
		stopping = true
		c.ask(t, "last")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.backend.ask(ctx, newRequest(typeConnect, nil, realtime.Peer{})); err == nil || sentOf(err) != sentNo {
			t.Errorf("the error is %v, sent: %s", err, sentOf(err))
		}
	})
}

// TestStoppingBackendWhenItIsBusy: a request that waits for its slot when the
// backend says that it stops waits for that as well.
func TestStoppingBackendWhenItIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var times []time.Duration
		began := time.Now()
		w := newWorld(t, Options{URL: "http://backend/realtime", Concurrency: 1, Transport: answering(typeEvent, func() (int, http.Header, error) {
			mu.Lock()
			times = append(times, time.Since(began))
			first := len(times) == 1
			mu.Unlock()
			if first {
				time.Sleep(time.Second)
				return 204, http.Header{"Retry-After": {"2"}}, nil
			}
			return 204, nil, nil
		})})
		c, other := w.connect(), w.connect()
		var asking sync.WaitGroup
		asking.Go(func() { c.ask(t, "last") })
		synctest.Wait()
		asking.Go(func() { other.ask(t, "first") })
		asking.Wait()
		if want := []time.Duration{0, 3 * time.Second}; !slices.Equal(times, want) {
			t.Errorf("requests were sent at %v, want %v", times, want)
		}
	})
}

// hangingUp notes when connections are closed.
type hangingUp struct {
	http.RoundTripper
	times []time.Time
}

func (h *hangingUp) CloseIdleConnections() { h.times = append(h.times, time.Now()) }

// TestNotify: a backend that does not want to know of connects or of disconnects
// is not asked, and not told.
func TestNotify(t *testing.T) {
	for _, o := range []Options{{}, {NoConnects: true}, {NoDisconnects: true}, {NoConnects: true, NoDisconnects: true}} {
		t.Run(fmt.Sprint("no connects: ", o.NoConnects, ", no disconnects: ", o.NoDisconnects), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				asked := make(map[string]int)
				o.Storage = waltest.New().Storage()
				w := local(t, o, func(m *message) (int, string) {
					mu.Lock()
					defer mu.Unlock()
					asked[m.Type]++
					return 204, ""
				})
				c := w.connect()
				c.ask(t, "e")
				c.socket.HandleDisconnect("transport close")
				identity, err := w.hub.Namespace("/").Authenticate(t.Context(), w.handshake())
				if err != nil {
					t.Fatal(err)
				}
				identity.Discard()
				time.Sleep(time.Minute)
				synctest.Wait()
				mu.Lock()
				defer mu.Unlock()
				want := map[string]int{typeConnect: 2, typeEvent: 1, typeDisconnect: 2}
				if o.NoConnects {
					want[typeConnect] = 0
					want[typeDisconnect] = 1 // there is nobody whom the backend has let in
				}
				if o.NoDisconnects {
					want[typeDisconnect] = 0
				}
				for kind, n := range want {
					if asked[kind] != n {
						t.Errorf("%s was sent %d times, want %d", kind, asked[kind], n)
					}
				}
				r := &w.queue.records
				r.mu.Lock()
				defer r.mu.Unlock()
				if n := r.log.Len(); n > 0 {
					t.Errorf("%d records are left", n)
				}
			})
		})
	}
}
