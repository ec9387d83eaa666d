package chain

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
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
			if _, err := io.Copy(w, strings.NewReader(strings.Repeat(" ", maxRecorded+1))); err != nil {
				panic(http.ErrAbortHandler)
			}
			return nil
		}, errTooLarge.Error()},
		"too large, and nobody cares": {func(w http.ResponseWriter, _ context.CancelCauseFunc) error {
			_, _ = io.WriteString(w, strings.Repeat(" ", maxRecorded+1))
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
