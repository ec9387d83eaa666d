// Command realtime is Caddy with realtime built in.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-realtime/caddy-realtime/caddy"
	_ "github.com/caddy-realtime/caddy-realtime/caddy/xconnect"
)

func main() { caddycmd.Main() }
