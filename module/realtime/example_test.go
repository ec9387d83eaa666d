package realtime_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A printer is a protocol: a Conn that prints what the server sends to one client. Others encode
// messages and write them to a connection, without ever waiting for it.
type printer struct{ client string }

func (p printer) SendConnect(*realtime.Socket) error {
	fmt.Printf("%s is connected\n", p.client)
	return nil
}

func (p printer) Deliver(m *realtime.Message, _ *realtime.Batch) error {
	fmt.Printf("%s gets %s %s\n", p.client, m.Event, m.Args[0].JSON)
	return nil
}

func (p printer) Disconnect(bool) error { return nil }
func (p printer) Close(string)          {}

// byName is an Authenticator that accepts everyone who says a name.
type byName struct{}

func (byName) Authenticate(_ context.Context, _ string, h *realtime.Handshake) (realtime.Identity, error) {
	var auth struct{ Name string }
	if err := json.Unmarshal(h.Auth, &auth); err != nil || auth.Name == "" {
		return realtime.Identity{}, &realtime.ConnectError{Message: "say your name", Status: http.StatusUnauthorized}
	}
	return realtime.Identity{User: auth.Name, Rooms: []string{"lobby"}}, nil
}

// A chat is a Handler, the application: it passes on what is said to the others in the lobby.
type chat struct{}

func (chat) HandleConnect(context.Context, *realtime.Socket) {}

func (chat) HandleEvent(ctx context.Context, e *realtime.Event) (bool, error) {
	if e.Name != "say" || len(e.Args) != 1 {
		return false, nil // the next handler is asked
	}
	if err := e.Socket.To("lobby").Emit(ctx, "said", e.Args[0]); err != nil {
		return true, err
	}
	if e.Ack != nil {
		return true, e.Ack(realtime.String("passed on"))
	}
	return true, nil
}

func (chat) HandleDisconnect(_ context.Context, s *realtime.Socket, reason string) {
	fmt.Printf("%s has left: %s\n", s.User(), reason)
}

// A hub with an application and a protocol: two clients meet in a room.
func Example() {
	ctx := context.Background()
	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		panic(err)
	}
	defer hub.Close()

	policy := &realtime.Policy{
		Authenticators: []realtime.Authenticator{byName{}},
		Handlers:       []realtime.Handler{chat{}},
	}
	endpoint := realtime.NewEndpoint("default", hub, func() (*realtime.Policy, func()) { return policy, func() {} })
	connect := func(name, auth string) *realtime.Socket {
		h := &realtime.Handshake{Endpoint: endpoint, Auth: json.RawMessage(auth)}
		socket, err := hub.Lookup("/").Connect(ctx, h, printer{name})
		if err != nil {
			fmt.Printf("%s is refused: %v\n", name, err)
		}
		return socket
	}
	alice := connect("alice", `{"name":"alice"}`)
	bob := connect("bob", `{"name":"bob"}`)
	connect("carol", `{}`)

	// What a client sends, its protocol gives to the socket.
	alice.HandleEvent(ctx, "say", []realtime.Arg{realtime.String("hello")}, func(_ *realtime.Batch, args ...realtime.Arg) error {
		fmt.Printf("alice gets the ack %s\n", args[0].JSON)
		return nil
	})
	// What the server has to say, it can say to rooms, users, sockets or everyone.
	if err := hub.Namespace("/").To().ToUsers("alice").Emit(ctx, "notice", realtime.String("you have mail")); err != nil {
		panic(err)
	}
	alice.HandleDisconnect("transport close")
	bob.HandleDisconnect("client namespace disconnect")

	// Output:
	// alice is connected
	// bob is connected
	// carol is refused: authenticating: say your name
	// bob gets said "hello"
	// alice gets the ack "passed on"
	// alice gets notice "you have mail"
	// alice has left: transport close
	// bob has left: client namespace disconnect
}
