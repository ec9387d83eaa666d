package jwt

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A Source is where a token may be.
type Source struct {
	kind string // "auth", "header", "cookie" or "query"
	name string
}

// DefaultSources are the member token of a Socket.IO client's auth, and the handshake's
// header Authorization.
var DefaultSources = []Source{{"auth", "token"}, {"header", "Authorization"}}

// ParseSource reads a source: auth.<member>, header:<name>, cookie:<name> or
// query:<name>. Everywhere, "Bearer " may be before the token. In
// header:Sec-WebSocket-Protocol the token follows the subprotocol bearer.
func ParseSource(text string) (Source, error) {
	kind, name, ok := strings.Cut(text, ":")
	if !ok {
		kind, name, ok = strings.Cut(text, ".")
		ok = ok && kind == "auth"
	} else if kind == "auth" {
		ok = false
	}
	switch kind {
	case "auth", "header", "cookie", "query":
		if ok && name != "" && !strings.ContainsAny(name, " \t\r\n:;=,") {
			return Source{kind, name}, nil
		}
	}
	return Source{}, fmt.Errorf("%q is nowhere that a token can be; "+
		"write auth.token, header:Authorization, cookie:<name> or query:<name>", text)
}

// Header returns the name of the header that the source reads; "" if it reads none.
func (s Source) Header() string {
	switch s.kind {
	case "header":
		return s.name
	case "cookie":
		return "Cookie"
	}
	return ""
}

// read returns the token; "" if there is none.
func (s Source) read(h *realtime.Handshake) string {
	switch s.kind {
	case "auth":
		var auth map[string]json.RawMessage
		var token string
		if json.Unmarshal(h.Auth, &auth) == nil && json.Unmarshal(auth[s.name], &token) == nil {
			return bearer(token)
		}
	case "header":
		if strings.EqualFold(s.name, subprotocols) {
			return afterBearer(h.Header.Values(subprotocols))
		}
		return bearer(h.Header.Get(s.name))
	case "cookie":
		if cookie, err := (&http.Request{Header: h.Header}).Cookie(s.name); err == nil {
			return bearer(cookie.Value)
		}
	case "query":
		return bearer(h.Query.Get(s.name))
	}
	return ""
}

// subprotocols is the header with the subprotocols that a client offers. It is the only
// header that a page can set when it opens a WebSocket.
const subprotocols = "Sec-WebSocket-Protocol"

// afterBearer returns the subprotocol after the one named bearer; "" if there is none. A
// token that stands alone is not accepted: the server would select it as the subprotocol
// and send it back.
func afterBearer(lines []string) string {
	follows := false
	for name := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		name = strings.TrimSpace(name)
		if follows {
			return name
		}
		follows = strings.EqualFold(name, "bearer")
	}
	return ""
}

// bearer returns a token without the scheme Bearer, which may be before it; "" after any
// other scheme.
func bearer(text string) string {
	scheme, token, ok := strings.Cut(text, " ")
	switch {
	case !ok:
		return text
	case strings.EqualFold(scheme, "Bearer"):
		return strings.TrimSpace(token)
	}
	return ""
}
