// Package handshake says how much is kept of the request that opens a
// connection, for as long as that lasts.
package handshake

import (
	"net/http"
	"strings"
)

// overhead is about what a header or a parameter of the query takes beside its
// text, in bytes.
const overhead = 64

// Size returns how many bytes it takes to keep a request's URL, its host and
// origin, its headers of these names and the values.
func Size(r *http.Request, names []string, values map[string]string) int {
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
