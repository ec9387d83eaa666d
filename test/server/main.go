// Command server is Caddy with realtime and the guest modules of the tests.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-realtime/caddy-realtime/caddy"
	_ "github.com/caddy-realtime/caddy-realtime/caddy/xconnect"
	_ "github.com/caddy-realtime/caddy-realtime/test/guests"
)

func main() { caddycmd.Main() }
