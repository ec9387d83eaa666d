package socketio

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// An onlyOf is an authenticator that lets clients into one namespace.
type onlyOf string

func (o onlyOf) Authenticate(_ context.Context, namespace string, _ *realtime.Handshake) (realtime.Identity, error) {
	if namespace != string(o) {
		return realtime.Identity{}, &realtime.ConnectError{Message: "no"}
	}
	return realtime.Identity{}, nil
}

// TestRefusedFlood: a client that is refused by very many namespaces does not keep other clients
// out of theirs.
func TestRefusedFlood(t *testing.T) {
	server := newTestServer(t, func(context.Context, *realtime.Event) {}, onlyOf("/tenant"))
	stranger, guest := newPoller(t, server), newPoller(t, server)
	refused := 0
	for i := 0; i < 10_500; i += 500 {
		var connects []string
		for j := range 500 {
			connects = append(connects, fmt.Sprintf("0/%d,", i+j))
		}
		stranger.send(connects...)
		for refused < i+500 { // each GET is answered, since there is more
			refused += strings.Count(stranger.do(http.MethodGet, ""), `{"message":"no"}`)
		}
	}
	if n := len(server.endpoint.Hub().Namespaces()); n != 0 {
		t.Errorf("%d namespaces are left behind", n)
	}
	guest.send("0/tenant,")
	if got := guest.do(http.MethodGet, ""); !strings.HasPrefix(got, `40/tenant,{"sid"`) {
		t.Errorf("the next is told %s", got)
	}
}

// silent is a realtime.Conn that does nothing.
type silent struct{}

func (silent) SendConnect(*realtime.Socket) error               { return nil }
func (silent) Deliver(*realtime.Message, *realtime.Batch) error { return nil }
func (silent) Disconnect(bool) error                            { return nil }
func (silent) Close(string)                                     {}

// TestFull: if there are too many namespaces, the connection is closed, so that the client comes
// back by itself. After a CONNECT_ERROR it would not.
func TestFull(t *testing.T) {
	server := newTestServer(t, func(context.Context, *realtime.Event) {})
	hub := server.endpoint.Hub()
	for i := range 10_000 {
		h := &realtime.Handshake{Endpoint: server.endpoint, Session: "session"}
		if _, err := hub.Lookup(fmt.Sprint("/", i)).Connect(t.Context(), h, silent{}); err != nil {
			t.Fatal(err)
		}
	}
	p := newPoller(t, server)
	p.send("0/7,")
	if got := p.do(http.MethodGet, ""); !strings.HasPrefix(got, `40/7,{"sid"`) {
		t.Errorf("where there are others, the client is told %s", got)
	}
	p.send("0/more,")
	if got := p.do(http.MethodGet, ""); got != "1" && got != "6\x1e1" {
		t.Errorf("where there is no place, the client is told %s", got)
	}
}
