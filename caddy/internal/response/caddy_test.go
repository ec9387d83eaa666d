package response

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/gzip"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

func init() { caddy.RegisterModule(new(testHandler)) }

// A testHandler looks at the requests and writers that Caddy gives to handlers.
type testHandler struct{}

// faults has what the handler finds, in a text for each request.
var faults = make(chan string, 1)

func (*testHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.responsetest", New: func() caddy.Module { return new(testHandler) }}
}

func (*testHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	var found []string
	check := func(good bool, fault string) {
		if !good {
			found = append(found, fault)
		}
	}
	_, wrapped := w.(interface{ Unwrap() http.ResponseWriter })
	check(wrapped, "Caddy's writer has no Unwrap")
	inner := innermost(w)
	_, deadlines := inner.(interface{ SetWriteDeadline(time.Time) error })
	check(deadlines, fmt.Sprintf("the innermost writer is a %T, which has no deadlines", inner))
	check(http.NewResponseController(inner).SetWriteDeadline(time.Time{}) == nil, "the innermost writer takes no write deadline")
	check(http.NewResponseController(inner).SetReadDeadline(time.Time{}) == nil, "the innermost writer takes no read deadline")
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	check(ok && server.WriteTimeout == caddy.Duration(time.Hour) && server.ReadTimeout == caddy.Duration(time.Hour), "the server's time-outs are not to be found")
	reader, writer := caddyhttp.IdleTimeoutsFromContext(r.Context())
	check(reader != nil && writer != nil, "there are no idle time-outs")
	if reader != nil && writer != nil {
		check(reader.ReadCloser != nil, "the wrapper has no body of the server")
		check(!reader.Deadline.HardDeadline.IsZero() && !writer.Deadline.HardDeadline.IsZero(), "the wrappers do not have the server's time-outs")
	}
	faults <- strings.Join(found, "\n")
	return nil
}

// TestCaddy: what the package relies on in Caddy is so, behind what Caddy can put around a writer.
func TestCaddy(t *testing.T) {
	port := testcaddy.FreePort(t)
	config := fmt.Sprintf(`{
		"admin": {"disabled": true, "config": {"persist": false}},
		"logging": {"logs": {"default": {"level": "ERROR"}}},
		"apps": {"http": {"metrics": {}, "servers": {"srv0": {
			"listen": ["127.0.0.1:%d"], "automatic_https": {"disable": true}, "protocols": ["h1", "h2c"],
			"logs": {}, "read_timeout": "1h", "write_timeout": "1h",
			"routes": [{"handle": [
				{"handler": "encode", "encodings": {"gzip": {}}},
				{"handler": "headers", "response": {"deferred": true, "delete": ["Server"]}},
				{"handler": "intercept", "handle_response": [{"match": {"status_code": [500]}}]},
				{"handler": "responsetest"}
			]}]
		}}}}
	}`, port)
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	}()
	for _, http2 := range []bool{false, true} {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(!http2)
		transport.Protocols.SetUnencryptedHTTP2(http2)
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", port), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", "gzip")
		answer, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if fault := <-faults; fault != "" {
			t.Errorf("%s: %s", answer.Proto, fault)
		}
		transport.CloseIdleConnections()
	}
}
