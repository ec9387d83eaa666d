// Package defaults fills in the options of servers, where they do not differ.
package defaults

import (
	"net"
	"net/http"
)

// KeepHeaders are the names of the request headers that are remembered.
var KeepHeaders = []string{"Cookie", "Authorization", "User-Agent"}

// Set sets a field that has its zero value.
func Set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// ClientIP returns the address of the peer that sent a request.
func ClientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
