package chain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/caddy-realtime/module/webhook"
)

// TestChainFails: an answer that is not all there is none, and the error says
// why.
func TestChainFails(t *testing.T) {
	late := errors.New("too late")
	for name, tt := range map[string]struct {
		handle func(w http.ResponseWriter, cancel context.CancelCauseFunc) error
		want   string
	}{
		"broken off": {func(w http.ResponseWriter, _ context.CancelCauseFunc) error {
			_, _ = io.WriteString(w, `{"ack":[`)
			panic(http.ErrAbortHandler)
		}, errBrokeOff.Error()},
		"late": {func(w http.ResponseWriter, cancel context.CancelCauseFunc) error {
			cancel(late)
			panic(http.ErrAbortHandler)
		}, late.Error()},
		"too large": {func(w http.ResponseWriter, _ context.CancelCauseFunc) error {
			if _, err := io.Copy(w, strings.NewReader(strings.Repeat(" ", maxKept+1))); err != nil {
				panic(http.ErrAbortHandler)
			}
			return nil
		}, errTooLarge.Error()},
		"too large, and nobody cares": {func(w http.ResponseWriter, _ context.CancelCauseFunc) error {
			_, _ = io.WriteString(w, strings.Repeat(" ", maxKept+1))
			return nil
		}, errTooLarge.Error()},
		"a mistake": {func(http.ResponseWriter, context.CancelCauseFunc) error { panic("oops") }, "handler panicked: oops"},
		"no answer": {func(http.ResponseWriter, context.CancelCauseFunc) error { return nil }, "the handlers wrote no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			c := &Chain{server: new(caddyhttp.Server), prompt: true, handler: caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error { return tt.handle(w, cancel) })}
			answer, err := c.RoundTrip(httptest.NewRequestWithContext(ctx, http.MethodPost, "http://backend/realtime", nil))
			if err == nil {
				_ = answer.Body.Close()
				t.Fatalf("it is answered %d", answer.StatusCode)
			}
			if err.Error() != tt.want || errors.Is(err, webhook.ErrNotSent) {
				t.Errorf("the error is %q, want %q", err, tt.want)
			}
		})
	}
}

// A writer takes what is written.
type writer func(p []byte)

// Write implements io.Writer.
func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// TestStream: an answer is passed on while handlers write it, and not after the request has been
// given up.
func TestStream(t *testing.T) {
	for _, prompt := range []bool{true, false} {
		t.Run(fmt.Sprint("prompt: ", prompt), func(t *testing.T) {
			var got []string
			c := &Chain{server: new(caddyhttp.Server), prompt: prompt, handler: caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
				for i := range 3 {
					_, _ = fmt.Fprint(w, i)
					if want := strconv.Itoa(i); got[len(got)-1] != want {
						t.Errorf("%q has come, want %q", got, want)
					}
				}
				return nil
			})}
			err := c.Stream(httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://backend/realtime", nil), func(status int, _ http.Header) io.Writer {
				got = append(got, strconv.Itoa(status))
				return writer(func(p []byte) { got = append(got, string(p)) })
			})
			if fmt.Sprint(got) != "[200 0 1 2]" || err != nil {
				t.Errorf("the answer is %q, the error %v", got, err)
			}
		})
	}
	t.Run("given up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		next, ended := make(chan struct{}), make(chan error)
		c := &Chain{server: new(caddyhttp.Server), handler: caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			_, _ = io.WriteString(w, "in time")
			cancel()
			<-next
			_, err := io.WriteString(w, "too late")
			ended <- err
			return nil
		})}
		got := ""
		err := c.Stream(httptest.NewRequestWithContext(ctx, http.MethodPost, "http://backend/realtime", nil), func(int, http.Header) io.Writer {
			return writer(func(p []byte) { got += string(p) })
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
		close(next)
		if err := <-ended; err == nil || got != "in time" {
			t.Errorf("%q has come, and the handler's error is %v", got, err)
		}
	})
}
