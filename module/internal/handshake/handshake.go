// Package handshake keeps what a connection remembers of the request that opened it.
package handshake

import (
	"net/http"
	"strings"
	"time"
	"unique"
)

// A Handshake is what a connection remembers of the request that opened it. It keeps no
// other part of the request in memory.
type Handshake struct {
	Time     time.Time
	ClientIP string
	Origin   string // as the client sent it; "" for a native client
	Host     string
	Path     string
	RawQuery string // with the protocol's own parameters
	Secure   bool   // whether the request came over TLS

	headers int32   // how many of the fields are headers
	fields  []field // the headers, and behind them the other values
}

// A field is one header or value. A few fields take a tenth of the memory of a map, and
// every connection has some.
type field struct{ name, value string }

// shared returns a copy of what many requests have in common, such as the name of a browser. Most
// connections then have the same copy: those that came between two garbage collections.
func shared(s string) string { return unique.Make(s).Value() }

// Options say what is kept of a request, besides the fields of a Handshake.
type Options struct {
	// MaxBytes bounds how many bytes are kept.
	MaxBytes int
	// Headers are the names of the headers that are kept.
	Headers []string
	// Values returns what else is kept, by name. Default: nothing.
	Values func(*http.Request) map[string]string
	// ClientIP returns the client's address.
	ClientIP func(*http.Request) string
}

// New returns the handshake of a request that has this Origin. It returns false if more
// than MaxBytes would have to be kept.
func New(r *http.Request, origin string, o Options) (h Handshake, ok bool) {
	var values map[string]string
	if o.Values != nil {
		values = o.Values(r)
	}
	if size(r, o.Headers, values) > o.MaxBytes {
		return Handshake{}, false
	}
	h = Handshake{
		Time:     time.Now(),
		ClientIP: strings.Clone(o.ClientIP(r)),
		Origin:   shared(origin),
		Host:     shared(r.Host),
		Path:     shared(r.URL.Path),
		RawQuery: strings.Clone(r.URL.RawQuery),
		Secure:   r.TLS != nil,
	}
	for _, name := range o.Headers {
		for _, value := range r.Header.Values(name) {
			h.fields = append(h.fields, field{name, shared(value)})
		}
	}
	h.headers = int32(len(h.fields))
	for name, value := range values {
		h.fields = append(h.fields, field{name, strings.Clone(value)})
	}
	return h, true
}

// Get returns the first value of a header, and "" if none is kept.
func (h *Handshake) Get(name string) string {
	for _, f := range h.fields[:h.headers] {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

// Header returns the headers that are kept. It makes a new map for each call.
func (h *Handshake) Header() http.Header {
	kept := make(http.Header, h.headers)
	for _, f := range h.fields[:h.headers] {
		kept.Add(f.name, f.value)
	}
	return kept
}

// Values returns what else is kept, by name; nil if that is nothing. It makes a new map
// for each call.
func (h *Handshake) Values() map[string]string {
	values := h.fields[h.headers:]
	if len(values) == 0 {
		return nil
	}
	kept := make(map[string]string, len(values))
	for _, f := range values {
		kept[f.name] = f.value
	}
	return kept
}

// overhead is about how many bytes a header or a query parameter takes in addition to
// its text.
const overhead = 64

// size returns about how many bytes it takes to keep a request's URL, its host and
// origin, the headers of these names and the values.
func size(r *http.Request, names []string, values map[string]string) int {
	size := len(r.Host) + len(r.URL.Path) + len(r.URL.RawQuery) + len(r.Header.Get("Origin"))
	size += overhead * (strings.Count(r.URL.RawQuery, "&") + 1)
	for _, name := range names {
		for _, value := range r.Header.Values(name) {
			size += len(value) + overhead
		}
	}
	for _, value := range values {
		size += len(value) + overhead
	}
	return size
}
