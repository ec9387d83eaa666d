// Package xconnect lets browsers open WebSockets over HTTP/2 (RFC 8441). To import it is
// enough. Go's HTTP/2 server offers them only if the environment has
// GODEBUG=http2xconnect=1 when its package is initialized; there is no other way to set
// it. HTTP/3 needs nothing.
//
// This changes the whole server: a browser then opens all WebSockets to an origin over
// its HTTP/2 connection. Caddy's reverse_proxy serves these. A handler of a third party
// that only knows HTTP/1.1 does not, so this is a package of its own, which a build may
// leave out. GODEBUG=http2xconnect=0 still turns it off.
package xconnect

import (
	"os"
	"strings"
)

// Packages are initialized in the order of their import paths, each as soon as all that
// it imports are (Go's specification, "Program initialization"). This one imports only os
// and strings, so it is initialized before golang.org/x/net and net/http.
func init() { _ = os.Setenv("GODEBUG", enabled(os.Getenv("GODEBUG"))) }

// enabled returns a value of GODEBUG with the setting added, unless it has the setting.
func enabled(debug string) string {
	const setting = "http2xconnect="
	switch {
	case strings.Contains(debug, setting):
		return debug
	case debug == "":
		return setting + "1"
	}
	return debug + "," + setting + "1"
}
