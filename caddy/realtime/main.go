// Command realtime is Caddy with realtime built in.
package main

import (
	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	realtime "github.com/caddy-realtime/caddy-realtime/caddy"
	_ "github.com/caddy-realtime/caddy-realtime/caddy/xconnect"
)

func main() {
	// Caddy's own version follows it: "caddy-realtime v1.2.3 on Caddy v2.11.9 h1:…".
	caddy.CustomVersion = "caddy-realtime " + realtime.Version() + " on Caddy"
	caddycmd.Main()
}
