package realtime_test

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A directory is a Handler that has to wait: it looks names up in a slow database.
type directory struct{}

func (directory) HandleConnect(context.Context, *realtime.Socket)            {}
func (directory) HandleDisconnect(context.Context, *realtime.Socket, string) {}

func (directory) HandleEvent(_ context.Context, e *realtime.Event) (bool, error) {
	e.Later(func(ctx context.Context) error {
		select {
		case <-time.After(time.Millisecond): // the database
			return e.Ack(realtime.String("found"))
		case <-ctx.Done(): // the hub is closing
			return ctx.Err()
		}
	})
	return true, nil
}

// A handler that has to wait passes the rest to Later and returns. The client's connection is read
// meanwhile, but its next event waits for its turn.
func ExampleEvent_Later() {
	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		panic(err)
	}
	defer hub.Close()
	policy := &realtime.Policy{Handlers: []realtime.Handler{directory{}}}
	endpoint := realtime.NewEndpoint("default", hub, func() (*realtime.Policy, func()) { return policy, func() {} })
	ctx := context.Background()
	alice, err := hub.Lookup("/").Connect(ctx, &realtime.Handshake{Endpoint: endpoint}, printer{"alice"})
	if err != nil {
		panic(err)
	}

	acked := make(chan struct{})
	alice.HandleEvent(ctx, "find", nil, func(_ *realtime.Batch, args ...realtime.Arg) error {
		fmt.Printf("alice gets the ack %s\n", args[0].JSON)
		close(acked)
		return nil
	})
	<-acked
	alice.HandleDisconnect("transport close")

	// Output:
	// alice is connected
	// alice gets the ack "found"
}

// A broadcast is a value: one can be the base of others.
func ExampleBroadcast() {
	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		panic(err)
	}
	defer hub.Close()

	staff := hub.Namespace("/").To("staff")
	quiet := staff.Except("on holiday").Volatile()

	ctx := context.Background()
	if err := staff.Emit(ctx, "alarm"); err != nil {
		panic(err)
	}
	if err := quiet.Emit(ctx, "typing", realtime.String("alice")); err != nil {
		panic(err)
	}
	// Output:
}

// Arguments are JSON that is passed on byte by byte, with binary parts.
func ExampleArg() {
	picture, err := realtime.JSON(map[string]any{"width": 1, "text": "<b>"})
	if err != nil {
		panic(err)
	}
	data := realtime.Bytes([]byte{1, 2, 3})
	fmt.Printf("%s %s\n", picture.JSON, data.JSON)
	fmt.Printf("%s\n", realtime.AppendInlineArgs(nil, []realtime.Arg{picture, data}))
	// Output:
	// {"text":"<b>","width":1} {"_placeholder":true,"num":0}
	// [{"text":"<b>","width":1},{"$binary":"AQID"}]
}
