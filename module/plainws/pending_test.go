package plainws

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// TestPending: a client counts as a pending connection of the endpoint while it is being
// authenticated, and no longer.
func TestPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		decide := make(chan error)
		policy := realtime.Policy{
			Limits: realtime.Limits{Pending: 2},
			Authenticators: []realtime.Authenticator{authenticatorFunc(func(ctx context.Context, _ *realtime.Handshake) (realtime.Identity, error) {
				select {
				case err := <-decide:
					return realtime.Identity{}, err
				case <-ctx.Done():
					return realtime.Identity{}, context.Cause(ctx)
				}
			})},
		}
		f := start(t, JSON, policy, quiet)
		pending := f.endpoint.Pending()
		come := func() {
			go func() {
				if ws, answer, err := f.dial(nil, ""); err == nil {
					t.Cleanup(func() { ws.Close() })
				} else if answer != nil {
					answer.Body.Close()
				}
			}()
			synctest.Wait()
		}
		come()
		come()
		_, answer, err := f.dial(nil, "")
		if err == nil || answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
			t.Errorf("one more is answered %v", answer)
		}
		if body, _ := io.ReadAll(answer.Body); !strings.Contains(string(body), "wait to be let in") {
			t.Errorf("with %s", body)
		}
		if n := f.log.FilterMessage("refused").FilterFieldKey("limit").Len(); n != 1 {
			t.Errorf("the log has %d lines of it", n)
		}
		for _, err := range []error{nil, &realtime.ConnectError{Message: "no"}, errors.New("the database is down"), nil} {
			if n := pending.Len(); n != 2 {
				t.Errorf("%d wait, want two", n)
			}
			decide <- err
			synctest.Wait()
			if n := pending.Len(); n != 1 {
				t.Errorf("%v: %d wait, want one", err, n)
			}
			come()
		}
		// A client that goes meanwhile is not pending any more.
		ctx, cancel := context.WithCancel(context.Background())
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "/ws", nil)
		for name, value := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
		} {
			r.Header.Set(name, value)
		}
		decide <- nil
		synctest.Wait()
		go f.ServeHTTP(discard{}, r)
		synctest.Wait()
		if n := pending.Len(); n != 2 {
			t.Errorf("%d wait, want two", n)
		}
		cancel()
		decide <- nil
		synctest.Wait()
		if n := pending.Len(); n != 0 {
			t.Errorf("%d wait, want none", n)
		}
	})
}

// discard is an http.ResponseWriter that cannot be upgraded.
type discard struct{}

func (discard) Header() http.Header         { return make(http.Header) }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// TestHeaders: a request is refused if more of it would be kept than the limit allows.
func TestHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := quiet
		options.Limits.Headers = 2000
		f := start(t, JSON, realtime.Policy{}, options)
		long := strings.Repeat("x", 2000)
		ws, _, err := f.dial(http.Header{"Cookie": {"a=b"}, "Accept-Language": {long}}, "?token=abc")
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		for name, dial := range map[string]func() (*http.Response, error){
			"a cookie": func() (*http.Response, error) { _, a, err := f.dial(http.Header{"Cookie": {long}}, ""); return a, err },
			"many cookies": func() (*http.Response, error) {
				_, a, err := f.dial(http.Header{"Cookie": strings.Split(strings.Repeat("x ", 40), " ")}, "")
				return a, err
			},
			"a query": func() (*http.Response, error) { _, a, err := f.dial(nil, "?token="+long); return a, err },
		} {
			answer, err := dial()
			if err == nil || answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("%s: answered %v", name, answer)
			}
		}
		if n := f.log.FilterMessage("refused").FilterFieldKey("limit").Len(); n != 3 {
			t.Errorf("the log has %d lines of it", n)
		}
		synctest.Wait()
		if n := f.endpoint.Pending().Len(); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}
