package plainws_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/plainws"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A device that has no Socket.IO library gets what everyone in its hub gets, as JSON.
func Example() {
	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		log.Fatal(err)
	}
	endpoint := realtime.NewEndpoint("devices", hub, func() (*realtime.Policy, func()) {
		return new(realtime.Policy), func() {}
	})
	options := plainws.Options{}.WithDefaults()
	server := plainws.NewServer(endpoint, plainws.JSON, func() *plainws.Options { return options })
	listener := httptest.NewServer(server)

	device, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(listener.URL, "http"), nil)
	if err != nil {
		log.Fatal(err)
	}
	read := func() string {
		_, frame, err := device.ReadMessage()
		if err != nil {
			log.Fatal(err)
		}
		return string(frame)
	}
	hello, _, _ := strings.Cut(read(), `:"`+hub.Namespace("/").Sockets()[0].ID()) // the id differs each time
	fmt.Println(hello)

	err = hub.Namespace("/").To().Emit(context.Background(), "temperature", realtime.String("21 °C"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(read())

	_ = device.Close()
	listener.Close()
	if err := server.Close(context.Background(), 0); err != nil {
		log.Fatal(err)
	}
	if err := hub.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// {"event":"connect","args":[{"id"
	// {"event":"temperature","args":["21 °C"]}
}
