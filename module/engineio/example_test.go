package engineio_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
)

// An echo is the receiver of one session. It sends every message back.
type echo struct {
	session *engineio.Session
	closed  chan string
}

func (e echo) Receive(p engineio.Packet, batch *engineio.Batch) {
	_ = e.session.SendIn(batch, engineio.NewPacketGroup(p)) // an error: the session has ended
}

func (e echo) Closed(reason string) { e.closed <- reason }

// A server that sends every message back, and a client that begins with WebSocket.
func Example() {
	closed := make(chan string)
	options := engineio.Options{}.WithDefaults()
	server := engineio.NewServer(
		func() *engineio.Options { return options },
		func(s *engineio.Session) engineio.Receiver { return echo{s, closed} },
	)
	web := httptest.NewServer(server)
	defer web.Close()

	address := strings.Replace(web.URL, "http", "ws", 1) + "/engine.io/?EIO=4&transport=websocket"
	client, response, err := websocket.DefaultDialer.Dial(address, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = response.Body.Close()
	_, open, _ := client.ReadMessage()
	fmt.Printf("the first packet has type %c\n", open[0])
	_ = client.WriteMessage(websocket.TextMessage, []byte("4hello"))
	_, answer, _ := client.ReadMessage()
	fmt.Printf("%s\n", answer)

	_ = client.Close()
	fmt.Println("closed:", <-closed)

	// Close ends the sessions that are left, and waits for all of them.
	_ = server.Close(context.Background(), 0)

	// Output:
	// the first packet has type 0
	// 4hello
	// closed: transport close
}
