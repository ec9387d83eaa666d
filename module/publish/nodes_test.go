package publish

import (
	"bytes"
	"context"
	"net/http"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A reserved broker publishes heartbeats only while it is silent: its node lives, and answers nobody.
type reserved struct {
	cluster.Broker
	silent atomic.Bool
}

func (b *reserved) Publish(ctx context.Context, e cluster.Envelope) error {
	if b.silent.Load() && !bytes.Contains(e.Payload, []byte(`"kind":"heartbeat"`)) {
		return nil
	}
	return b.Broker.Publish(ctx, e)
}

// TestNodes calls the API of one of two nodes. A call is about the sockets of both, unless it says
// that it is about those of one.
func TestNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := membroker.New(membroker.Options{})
		second := &reserved{Broker: broker.Peer()}
		a := local(t, Options{}, realtime.Options{Node: "a", Broker: broker})
		b := local(t, Options{}, realtime.Options{Node: "b", Broker: second})
		here, there := a.connect("/", "u1", "room"), b.connect("/", "u1", "room")
		time.Sleep(10 * time.Second) // in virtual time: the nodes know each other
		is := func(what string, got, want any) {
			t.Helper()
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		emit := func(path, where string, nodes int, receivedThere ...string) {
			t.Helper()
			var sent emitted
			a.post(path, `{"event":"e",`+where+`}`, http.StatusAccepted, &sent)
			synctest.Wait()
			is(where+": local sockets", sent.LocalSockets, 1)
			is(where+": nodes", sent.Nodes, nodes)
			is(where+": received here", here.received(), []string{"e []"})
			is(where+": received there", there.received(), append([]string{}, receivedThere...))
		}
		for _, where := range []string{`"to":["room"]`, `"users":["u1"]`, `"everyone":true`, `"to":["` + there.socket.ID() + `","` + here.socket.ID() + `"]`} {
			emit("emit", where, 1, "e []")
		}
		emit("emit?local=1", `"to":["room"]`, 0)

		a.change("join", `{"where":{"user":"u1"},"rooms":["more"]}`, 2)
		is("rooms here", here.socket.Rooms(), []string{"room", "more"})
		is("rooms there", there.socket.Rooms(), []string{"room", "more"})
		a.change("leave?local=1", `{"where":{"user":"u1"},"rooms":["more"]}`, 1)
		is("rooms here", here.socket.Rooms(), []string{"room"})
		is("rooms there", there.socket.Rooms(), []string{"room", "more"})
		b.change("data", `{"where":{"room":"room"},"patch":{"n":1}}`, 2)
		is("data here", string(here.socket.Data()["n"]), "1")
		is("data there", string(there.socket.Data()["n"]), "1")

		for path, want := range map[string]struct{ sockets, nodes int }{"stats": {2, 2}, "stats?local=1": {1, 0}} {
			var figures stats
			a.decode(a.call(http.MethodGet, path, ""), path, http.StatusOK, &figures)
			is(path, []int{figures.Sockets, len(figures.Nodes)}, []int{want.sockets, want.nodes})
		}

		second.silent.Store(true)
		var changed struct {
			Sockets      int
			MissingNodes []string `json:"missing_nodes"`
		}
		a.post("sockets/leave", `{"where":{"user":"u1"},"rooms":["room"]}`, http.StatusOK, &changed)
		is("sockets while a node is silent", changed.Sockets, 1)
		is("missing nodes", changed.MissingNodes, []string{"b"})
		second.silent.Store(false)
		a.change("disconnect", `{"where":{"user":"u1"}}`, 2)
		is("disconnected here", here.left, []bool{false})
		is("disconnected there", there.left, []bool{false})
	})
}
