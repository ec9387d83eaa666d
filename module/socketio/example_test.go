package socketio_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
	"github.com/caddy-realtime/caddy-realtime/module/socketio"
)

// A greeter is a realtime.Handler. It answers the event "greet".
type greeter struct{}

func (greeter) HandleConnect(context.Context, *realtime.Socket)            {}
func (greeter) HandleDisconnect(context.Context, *realtime.Socket, string) {}

func (greeter) HandleEvent(_ context.Context, e *realtime.Event) (handled bool, err error) {
	if e.Name != "greet" || len(e.Args) != 1 || e.Ack == nil {
		return false, nil
	}
	var name string
	if err := json.Unmarshal(e.Args[0].JSON, &name); err != nil {
		return false, err
	}
	return true, e.Ack(realtime.String("hello, " + name))
}

// A server connects Socket.IO clients with a hub. Its endpoint's policy says who may enter which
// namespace, and who handles their events.
func Example() {
	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		log.Fatal(err)
	}
	policy := &realtime.Policy{Handlers: []realtime.Handler{greeter{}}}
	endpoint := realtime.NewEndpoint("chat", hub, func() (*realtime.Policy, func()) {
		return policy, func() {} // this policy needs nothing when it is not used any more
	})
	options := socketio.Options{ConnectTimeout: 10 * time.Second}.WithDefaults()
	server := socketio.NewServer(endpoint, func() *socketio.Options { return options })
	listener := httptest.NewServer(server)

	// In a browser, this would be: io(url).emit("greet", "Ann", (answer) => console.log(answer)).
	// Here are the packets of it.
	url := "ws" + strings.TrimPrefix(listener.URL, "http") + "/socket.io/?EIO=4&transport=websocket"
	client, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		log.Fatal(err)
	}
	packets := []string{`40`, `420["greet","Ann"]`} // CONNECT, EVENT with the id 0
	for _, packet := range packets {
		if err := client.WriteMessage(websocket.TextMessage, []byte(packet)); err != nil {
			log.Fatal(err)
		}
	}
	for range 3 { // the handshake, the answer to CONNECT, and the ack
		_, packet, err := client.ReadMessage()
		if err != nil {
			log.Fatal(err)
		}
		before, _, _ := strings.Cut(string(packet), `{"sid"`) // ids differ each time
		fmt.Println(before)
	}

	_ = client.Close()
	listener.Close()
	// Close would end connections that are open such that their clients come back.
	if err := server.Close(context.Background(), 0); err != nil {
		log.Fatal(err)
	}
	if err := hub.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 0
	// 40
	// 430["hello, Ann"]
}
