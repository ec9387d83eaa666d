// Package xconnect lets browsers open WebSockets over HTTP/2 (RFC 8441), by
// being imported. Go's HTTP/2 server offers them only where the environment
// says GODEBUG=http2xconnect=1 by the time its package is initialized, and
// takes no other word for it. HTTP/3 needs nothing.
//
// It holds for the whole server: a browser opens all its WebSockets to an
// origin over the HTTP/2 connection that it has. Caddy's reverse_proxy serves
// them; a handler of somebody else's that only knows HTTP/1.1 does not, and is
// why this is a package apart. GODEBUG=http2xconnect=0 still turns it off.
package xconnect

import (
	"os"
	"strings"
)

// Packages are initialized in the order of their import paths, each as soon as
// those that it imports are (Go's specification, "Program initialization"), and
// so this one, which needs os alone, is before golang.org/x/net and net/http.
func init() { _ = os.Setenv("GODEBUG", enabled(os.Getenv("GODEBUG"))) }

// enabled returns a value of GODEBUG with the setting, unless that is there.
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
