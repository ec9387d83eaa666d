package engineio_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
)

// moved returns a session of a whose client has moved to a WebSocket at another node.
func moved(t *testing.T, a, other *testNode) (id string, ws *wsClient) {
	t.Helper()
	id = a.open(t)
	ws = other.upgrade(t, id)
	ws.send("2probe")
	expect(t, "probe", ws.receive(), "3probe")
	ws.send("5")
	synctest.Wait()
	expect(t, "transport", a.session(id).Transport(), "websocket")
	return id, ws
}

// A session moves to a WebSocket at another node.
func TestElsewhereUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := three(t)
		id, ws := moved(t, a, b)
		a.send(id, "hello")
		expect(t, "message", ws.receive(), "4hello")
		ws.send("4hi")
		expect(t, "received", a.events(), "hi")
		expect(t, "a GET", c.get(id), `400 {"code":3,"message":"Bad request"}`)
		a.session(id).Close("forced close")
		expect(t, "closed", ws.receive(), "close 1005")
		expect(t, "session", a.events(), "closed: forced close")
	})
}

// What a client has sent by POST comes before what it sends over the WebSocket, and a GET that waits is
// answered.
func TestElsewhereUpgradeOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := three(t)
		id := a.open(t)
		expect(t, "post", c.post(id, "4one\x1e4two"), "ok")
		answer := c.poll(t.Context(), id)
		ws := b.upgrade(t, id)
		ws.send("2probe")
		expect(t, "probe", ws.receive(), "3probe")
		expect(t, "the GET", <-answer, "6")
		a.send(id, "waits")
		ws.send("5")
		ws.send("4three")
		expect(t, "message", ws.receive(), "4waits")
		expect(t, "received", a.events(), "one, two, three")
	})
}

// A probe that fails ends the WebSocket only.
func TestElsewhereUpgradeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := three(t)
		id := a.open(t)
		ws := b.upgrade(t, id)
		ws.send("4no probe")
		expect(t, "closed", ws.receive(), "close 1005")
		second := c.upgrade(t, id)
		_ = second.conn.Close() // in the midst of it
		synctest.Wait()
		expect(t, "post", b.post(id, "4hi"), "ok")
		expect(t, "received", a.events(), "hi")
		third := c.upgrade(t, id)
		fourth := a.upgrade(t, id) // a session has one candidate at a time
		expect(t, "fourth", fourth.receive(), "close 1005")
		third.send("2probe")
		expect(t, "third", third.receive(), "3probe")
	})
}

// Both ends learn that the other is gone.
func TestElsewhereWebSocketEnds(t *testing.T) {
	for name, test := range map[string]struct {
		act   func(t *testing.T, a, b *testNode, id string, ws *wsClient)
		owner string
		ws    string
	}{
		"the client closes":      {func(_ *testing.T, _, _ *testNode, _ string, ws *wsClient) { _ = ws.conn.Close() }, "closed: transport close", "ended"},
		"the owner is lost":      {func(_ *testing.T, a, _ *testNode, _ string, _ *wsClient) { a.die(); time.Sleep(10 * time.Second) }, "", "close 1006"},
		"the other node is lost": {func(_ *testing.T, _, b *testNode, _ string, _ *wsClient) { b.die(); time.Sleep(10 * time.Second) }, "closed: transport close", ""},
		"the other node ends": {func(t *testing.T, _, b *testNode, _ string, _ *wsClient) {
			if err := b.server.Close(t.Context(), 0); err != nil {
				t.Error(err)
			}
		}, "closed: transport close", "close 1006"},
		"a message is lost": {func(_ *testing.T, a, b *testNode, id string, _ *wsClient) {
			b.link.lose(func(e clusterEnvelope) bool { return strings.Contains(e.Topic, "node/"+b.hub.Node()) })
			a.send(id, "lost")
			synctest.Wait()
			b.link.lose(nil)
			time.Sleep(10 * time.Second)
		}, "closed: transport close", "close 1006"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, _ := three(t)
				id, ws := moved(t, a, b)
				test.act(t, a, b, id, ws)
				expect(t, "owner", a.events(), test.owner)
				if test.ws != "" { // or the client has gone with its node
					expect(t, "client", ws.receive(), test.ws)
				}
			})
		})
	}
}

// Large messages pass both ways, and a slow client is found out by the owner.
func TestElsewhereWebSocketLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := withoutPings(engineio.Options{Options: connection.Options{CompressFrom: 1024}})
		cluster := newTestCluster(t, o, o)
		a, b := cluster.nodes[0], cluster.nodes[1]
		id, ws := moved(t, a, b)
		var large strings.Builder
		for i := range 100_000 {
			fmt.Fprint(&large, i, " ")
		}
		ws.send("4" + large.String())
		expect(t, "received", a.events(), large.String())
		a.send(id, large.String())
		expect(t, "message", ws.receive(), "4"+large.String())
		for range 20 { // nobody reads
			a.send(id, large.String())
		}
		time.Sleep(time.Minute)
		expect(t, "session", a.events(), "closed: slow consumer")
	})
}

// Many sessions at once, each with requests at all nodes.
func TestElsewhereMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := three(t)
		nodes := []*testNode{a, b, c}
		done := make(chan error)
		for i := range 60 {
			owner := nodes[i%3]
			id := owner.open(t)
			go func() {
				for n := range 20 {
					if got := nodes[(i+n)%3].post(id, fmt.Sprint("4", n)); got != "ok" {
						done <- fmt.Errorf("post %d: %s", n, got)
						return
					}
					owner.send(id, fmt.Sprint("answer ", n))
					if got, want := nodes[(i+n+1)%3].get(id), fmt.Sprint("4answer ", n); got != want {
						done <- fmt.Errorf("get %d: %s", n, got)
						return
					}
				}
				done <- nil
			}()
		}
		for range 60 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Second)
		for _, n := range nodes {
			if left := n.hub.Forwarding(); left != 0 {
				t.Errorf("%d connections are left", left)
			}
		}
	})
}
