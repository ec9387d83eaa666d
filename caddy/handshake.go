package caddy

import (
	"errors"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A HeaderReader is a guest that needs more headers of a handshake than other guests.
// HandshakeHeaders returns their names. They are in realtime.Handshake.Header, where Cookie,
// Authorization and User-Agent always are.
type HeaderReader interface {
	HandshakeHeaders() []string
}

// A PlaceholderReader is a guest that needs texts with placeholders of the handshake's request,
// such as "{http.auth.user.id}". HandshakeValues returns the texts. realtime.Handshake.Values has
// the result of each, by the text, or nothing if one of its placeholders is empty. The placeholders
// are replaced once, when the request comes.
type PlaceholderReader interface {
	HandshakeValues() []string
}

// alwaysKept are the headers that every handshake keeps.
var alwaysKept = []string{"Cookie", "Authorization", "User-Agent"}

// kept returns which headers and values of handshakes the guests need.
func kept(authenticators []realtime.Authenticator, handlers []realtime.Handler) (headers, values []string) {
	headers = slices.Clone(alwaysKept)
	add := func(guest any) {
		if reader, ok := guest.(HeaderReader); ok {
			headers = append(headers, reader.HandshakeHeaders()...)
		}
		if reader, ok := guest.(PlaceholderReader); ok {
			values = append(values, reader.HandshakeValues()...)
		}
	}
	for _, guest := range authenticators {
		add(guest)
	}
	for _, guest := range handlers {
		add(guest)
	}
	for i, name := range headers {
		headers[i] = http.CanonicalHeaderKey(name)
	}
	slices.Sort(headers)
	slices.Sort(values)
	return slices.Compact(headers), slices.Compact(values)
}

var errEmpty = errors.New("placeholder stands for nothing")

// valuesOf returns a function that replaces the placeholders of texts for a request; nil
// if there are no texts.
func valuesOf(texts []string) func(*http.Request) map[string]string {
	if len(texts) == 0 {
		return nil
	}
	return func(r *http.Request) map[string]string {
		values := make(map[string]string, len(texts))
		replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if !ok {
			return values
		}
		for _, text := range texts {
			value, err := replacer.ReplaceFunc(text, func(_ string, value any) (any, error) {
				if value == nil || caddy.ToString(value) == "" {
					return nil, errEmpty
				}
				return value, nil
			})
			if err == nil {
				values[text] = value
			}
		}
		return values
	}
}
