package caddy

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/chain"
)

// forwarded returns a request with the scheme and the host that the client used. A proxy that Caddy
// trusts names them in X-Forwarded-Proto and X-Forwarded-Host. The last value of each counts, as
// for reverse_proxy. The headers are ignored if anybody else sends them.
func forwarded(r *http.Request) *http.Request {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); !trusted {
		return r
	}
	secure, host := r.TLS != nil, r.Host
	switch strings.ToLower(lastOf(r.Header["X-Forwarded-Proto"])) {
	case "https", "wss":
		secure = true
	case "http", "ws":
		secure = false
	}
	if named := lastOf(r.Header["X-Forwarded-Host"]); named != "" {
		host = named
	}
	if secure == (r.TLS != nil) && host == r.Host {
		return r
	}
	in := *r
	in.Host = host
	switch {
	case !secure:
		in.TLS = nil
	case r.TLS == nil:
		in.TLS = chain.TLSState(host)
	}
	return &in
}

// lastOf returns the last value of a header that may be a list.
func lastOf(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	line := lines[len(lines)-1]
	return strings.TrimSpace(line[strings.LastIndexByte(line, ',')+1:])
}
