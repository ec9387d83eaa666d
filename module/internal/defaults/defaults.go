// Package defaults has the defaults that several servers share.
package defaults

import (
	"net"
	"net/http"
)

// KeepHeaders are the request headers that servers keep by default.
var KeepHeaders = []string{"Cookie", "Authorization", "User-Agent"}

// Set sets a field to value if it is zero.
func Set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// ClientIP returns the IP address that a request came from.
func ClientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
