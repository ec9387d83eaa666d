package test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	"github.com/caddy-realtime/caddy-realtime/test/chaos"
)

// TestHandover reloads the configuration again and again, while polling clients and a
// backend send requests as fast as they can. Some reloads fail. None of the requests
// does.
func TestHandover(t *testing.T) {
	t.Parallel()
	harness.OverHTTPAndTLS(t, func(t *testing.T, secure bool) {
		site := func(more string) harness.Config {
			return harness.Config{Secure: secure, Site: relaySite("api /api/realtime {\n key " + harness.FirstKey + "\n }\n" + more)}
		}
		before, after := site("origins "+oldOrigin), site("origins "+newOrigin)
		s := harness.Start(t, harness.WithGuests, before)
		s.AllowError("request error") // of the reloads that fail
		occupied, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer occupied.Close()
		broken := after // listeners that all configurations share open and close again
		broken.More = "http://" + occupied.Addr().String() + " {\n bind 127.0.0.1 \n respond ok \n}"

		reloads := 21
		if secure {
			reloads = 9 // fewer: after each one every client has another TLS handshake
		}
		n := s.StartNode(t, "handover.mjs", "ROUNDS", strconv.Itoa(reloads))
		n.WantNoFailures()
		leave := keepCalling(t, s)
		defer leave()
		for i := range reloads {
			if i%2 == 0 {
				s.MustReload(after)
			} else {
				if status, answer := s.Reload(s.WriteConfig("Caddyfile.broken", broken)); status == http.StatusOK {
					t.Errorf("a broken configuration is answered %d %s", status, answer)
				}
				s.MustReload(before) // at once, without a pause after the broken one
			}
			n.Tell("done")
			n.WantNoFailures()
		}
		t.Logf("%d calls were made", leave())
		var said int
		n.Expect("finished", &said)
		t.Logf("%d lines have been said", said)
		n.Finish()
	})
}

// keepCalling calls the API and the health route all the time, on connections that are
// kept. stop ends that and returns the number of calls.
func keepCalling(t *testing.T, s *harness.Server) (stop func() int64) {
	t.Helper()
	done := make(chan struct{})
	var calls atomic.Int64
	var callers sync.WaitGroup
	for i := range 2 {
		callers.Go(func() {
			transport := new(http.Transport)
			if s.Trust != nil {
				transport.TLSClientConfig = s.Trust.Clone()
				transport.ForceAttemptHTTP2 = i%2 == 1
			}
			defer transport.CloseIdleConnections()
			client := http.Client{Transport: transport, Timeout: harness.Timeout}
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := callOnce(s, &client); err != nil {
					t.Errorf("caller %d: %v", i, err)
					return
				}
				calls.Add(1)
				time.Sleep(5 * time.Millisecond) // leaves time for the other tests
			}
		})
	}
	return func() int64 {
		select {
		case <-done:
		default:
			close(done)
		}
		callers.Wait()
		return calls.Load()
	}
}

// callOnce calls the API, which Go's client does not repeat, and the health route.
func callOnce(s *harness.Server, client *http.Client) error {
	call, err := http.NewRequest(http.MethodPost, s.URL()+"/api/realtime/emit", strings.NewReader(`{"event":"nobody listens","everyone":true}`))
	if err != nil {
		return err
	}
	call.Header.Set("Authorization", "Bearer "+harness.FirstKey)
	call.Header.Set("Content-Type", "application/json")
	ask, err := http.NewRequest(http.MethodGet, s.URL()+"/health/realtime", nil)
	if err != nil {
		return err
	}
	for _, request := range []*http.Request{call, ask} {
		response, err := patiently(client, request)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return fmt.Errorf("reading an answer of %s: %w", request.URL.Path, err)
		}
		if response.StatusCode/100 != 2 {
			return fmt.Errorf("%s is answered %d %s", request.URL.Path, response.StatusCode, text)
		}
	}
	return nil
}

// patiently sends a request. It repeats the request if the server had reason to close a
// new connection before.
func patiently(client *http.Client, request *http.Request) (*http.Response, error) {
	for {
		var reused bool
		traced := request.WithContext(httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{
			GotConn: func(conn httptrace.GotConnInfo) { reused = conn.Reused },
		}))
		if body := request.GetBody; body != nil {
			var err error
			if traced.Body, err = body(); err != nil {
				return nil, err
			}
		}
		begun := time.Now()
		response, err := client.Do(traced)
		if err == nil || reused || os.IsTimeout(err) || !chaos.MayBeClosed(begun) {
			return response, err
		}
	}
}
