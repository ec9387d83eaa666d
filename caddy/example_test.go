package caddy_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/gorilla/websocket"

	_ "github.com/caddy-realtime/caddy-realtime/caddy"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func init() { caddy.RegisterModule(Shout{}) }

// Shout answers every event with its name in capitals.
type Shout struct{}

func (Shout) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.handlers.shout", New: func() caddy.Module { return Shout{} }}
}
func (Shout) HandleConnect(context.Context, *realtime.Socket)            {}
func (Shout) HandleDisconnect(context.Context, *realtime.Socket, string) {}
func (Shout) HandleEvent(_ context.Context, e *realtime.Event) (handled bool, err error) {
	if e.Ack == nil {
		return true, nil
	}
	return true, e.Ack(realtime.String(strings.ToUpper(e.Name)))
}

// The example is a handler in Go, in place of a backend. It is a guest module, which the endpoint's
// JSON names. To be used in a Caddyfile as "handler shout", it also needs UnmarshalCaddyfile.
func Example_handler() {
	config := `{
		"admin": {"disabled": true},
		"logging": {"logs": {"default": {"level": "ERROR"}}},
		"apps": {"http": {"servers": {"example": {
			"listen": ["127.0.0.1:0"],
			"routes": [{"handle": [{"handler": "realtime", "handlers": [{"handler": "shout"}]}]}]
		}}}}
	}`
	if err := caddy.Load([]byte(config), true); err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = caddy.Stop() }()

	conn, _, err := websocket.DefaultDialer.Dial("ws://"+exampleAddress()+"/socket.io/?EIO=4&transport=websocket", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()
	for _, packet := range []string{"40", `420["hello"]`} { // enter the namespace "/", and emit an event
		_ = conn.WriteMessage(websocket.TextMessage, []byte(packet))
	}
	for range 3 { // the handshake, the CONNECT and the ack
		if _, packet, _ := conn.ReadMessage(); strings.HasPrefix(string(packet), "43") {
			fmt.Printf("%s\n", packet)
		}
	}
	// Output: 430["HELLO"]
}

// exampleAddress returns where the example's server listens.
func exampleAddress() string {
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		panic(err)
	}
	return app.(*caddyhttp.App).Servers["example"].Listeners()[0].Addr().String()
}
