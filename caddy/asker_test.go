package caddy

import (
	"bytes"
	"fmt"
	"net/url"
	"testing"

	"github.com/gorilla/websocket"
)

// connectAsker connects a client to the endpoint at a port, until the benchmark ends. ask emits an
// event, and returns when its ack has come.
func connectAsker(b *testing.B, port int) (ask func()) {
	b.Helper()
	target := url.URL{Scheme: "ws", Host: fmt.Sprintf("127.0.0.1:%d", port), Path: "/socket.io/", RawQuery: "EIO=4&transport=websocket"}
	conn, response, err := websocket.DefaultDialer.Dial(target.String(), nil)
	if err != nil {
		b.Fatal(err)
	}
	_ = response.Body.Close()
	b.Cleanup(func() { _ = conn.Close() })
	exchange := func(text, want string) {
		if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			b.Error(err)
		}
		for {
			_, data, err := conn.ReadMessage()
			if err != nil {
				b.Error(err)
				return
			}
			if bytes.HasPrefix(data, []byte(want)) {
				return
			}
		}
	}
	exchange("40", "40")
	return func() { exchange(`421["order:create",{"sku":"x","count":3}]`, `431[{"ok":true}]`) }
}
