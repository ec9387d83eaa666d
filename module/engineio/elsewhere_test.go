package engineio_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
)

// A client polls at one node, and another owns its session.
func TestElsewhereRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := three(t)
		id := a.open(t)
		a.send(id, "hello")
		expect(t, "what waits", b.get(id), "4hello")
		answer := c.poll(t.Context(), id)
		time.Sleep(200 * time.Millisecond)
		a.send(id, "hello again")
		expect(t, "what comes later", <-answer, "4hello again")
		expect(t, "nothing has ended", a.events(), "")
	})
}

func TestElsewhereWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := three(t)
		id := a.open(t)
		for _, post := range []struct {
			at   *testNode
			body string
		}{{b, "41\x1e42\x1e43"}, {a, "44\x1e45"}, {c, "46"}, {b, "47"}} {
			expect(t, "post", post.at.post(id, post.body), "ok")
		}
		expect(t, "received", a.events(), "1, 2, 3, 4, 5, 6, 7")
	})
}

func TestElsewhereBinary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := three(t)
		a.receive = func(s *engineio.Session, p engineio.Packet) { _ = s.Send(engineio.NewPacketGroup(p)) }
		id := a.open(t)
		expect(t, "post", b.post(id, "bAQIDBA=="), "ok")
		expect(t, "echo", c.get(id), "bAQIDBA==")
	})
}

// Two GETs at a time end a session, whichever nodes they reach.
func TestElsewhereReadTwice(t *testing.T) {
	for name, nodes := range map[string]func(a, b, c *testNode) (first, second *testNode){
		"first at the owner":  func(a, b, _ *testNode) (_, _ *testNode) { return a, b },
		"second at the owner": func(a, b, _ *testNode) (_, _ *testNode) { return b, a },
		"both elsewhere":      func(_, b, c *testNode) (_, _ *testNode) { return b, c },
		"both at one node":    func(_, b, _ *testNode) (_, _ *testNode) { return b, b },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, c := three(t)
				first, second := nodes(a, b, c)
				id := a.open(t)
				answer := first.poll(t.Context(), id)
				expect(t, "second", second.get(id), "400 ")
				expect(t, "first", <-answer, "1")
				expect(t, "session", a.events(), "closed: transport error")
				expect(t, "later", b.get(id), `400 {"code":1,"message":"Session ID unknown"}`)
			})
		})
	}
}

// The server closes a session whose client polls elsewhere.
func TestElsewhereServerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := three(t)
		id := a.open(t)
		answer := b.poll(t.Context(), id)
		a.session(id).Close("forced close")
		expect(t, "answer", <-answer, "1")
		expect(t, "session", a.events(), "closed: forced close")

		id = a.open(t)
		a.send(id, "last")
		a.session(id).Close("forced close")
		expect(t, "what was sent before", c.get(id), "4last")
		expect(t, "then the close", b.get(id), "6\x1e1") // as for any GET that comes after the end
	})
}

// The client closes its session by a packet.
func TestElsewhereClientCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := three(t)
		id := a.open(t)
		answer := b.poll(t.Context(), id)
		expect(t, "post", c.post(id, "1"), "ok")
		expect(t, "get", <-answer, "6")
		expect(t, "session", a.events(), "closed: transport close")
		expect(t, "later", b.get(id), `400 {"code":1,"message":"Session ID unknown"}`)
	})
}

// The client goes away while it waits. The owner learns so at once, and whoever counts who is absent.
func TestElsewhereAborted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := three(t)
		id := a.open(t)
		ctx, cancel := context.WithCancel(t.Context())
		answer := b.poll(ctx, id)
		start := time.Now()
		cancel()
		expect(t, "answer", <-answer, "aborted")
		expect(t, "session", a.events(), "closed: transport error")
		if took := time.Since(start); took > time.Second {
			t.Error("it took", took)
		}
	})
}

// The client answers pings of a session whose requests reach any node.
func TestElsewherePings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := engineio.Options{Options: connection.Options{PingInterval: 50 * time.Millisecond}}
		c := newTestCluster(t, withoutPings(engineio.Options{}), withoutPings(engineio.Options{}), o)
		id := c.nodes[2].open(t)
		for i := range 10 {
			expect(t, "ping", c.nodes[i%3].get(id), "2")
			expect(t, "pong", c.nodes[(i+1)%3].post(id, "3"), "ok")
		}
		expect(t, "session", c.nodes[2].events(), "")
		time.Sleep(time.Minute) // nobody answers any more
		expect(t, "session", c.nodes[2].events(), "closed: ping timeout")
	})
}

// An id that no node has made costs no message to another node.
func TestElsewhereUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := three(t)
		id := a.open(t)
		flipped := []byte(id)
		flipped[3] ^= 1
		before := b.link.published() + c.link.published()
		for name, id := range map[string]string{
			"as before":       "01234567890123456789",
			"too short":       id[:len(id)-1],
			"too long":        id + "A",
			"another session": string(flipped),
			"another node":    id[:22] + "AAAA" + id[26:],
			"another code":    id[:len(id)-4] + "AAAA",
			"nothing but it":  strings.Repeat("A", len(id)),
		} {
			expect(t, name, b.get(id), `400 {"code":1,"message":"Session ID unknown"}`)
			expect(t, name, c.post(id, "4hi"), `400 {"code":1,"message":"Session ID unknown"}`)
		}
		if n := b.link.published() + c.link.published() - before; n != 0 {
			t.Errorf("%d messages", n)
		}
		expect(t, "the right one", b.post(id, "4hi"), "ok")
		expect(t, "received", a.events(), "hi")

		a.session(id).Close("forced close")
		time.Sleep(time.Minute)
		expect(t, "ended", b.get(id), `400 {"code":1,"message":"Session ID unknown"}`)
		expect(t, "ended here", a.get(id), `400 {"code":1,"message":"Session ID unknown"}`)
	})
}

// Without a key, and with another one, sessions are known to their owner only.
func TestElsewhereKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := withoutPings(engineio.Options{})
		cluster := newTestCluster(t, o)
		cluster.start("another secret", o)
		cluster.start("", o)
		time.Sleep(3 * time.Second)
		for i, n := range cluster.nodes {
			id := n.open(t)
			expect(t, "owner", n.post(id, "4hi"), "ok")
			expect(t, "other", cluster.nodes[(i+1)%3].post(id, "4hi"), `400 {"code":1,"message":"Session ID unknown"}`)
			if (len(id) == 22) != (i == 2) {
				t.Errorf("the id %s", id)
			}
		}
	})
}

// What a node checks before it asks the owner.
func TestElsewhereChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := three(t)
		id := a.open(t)
		before := b.link.published()
		ask := func(method, query string, headers ...string) string {
			text, _ := b.do(t.Context(), method, id+query, "", headers...)
			return text
		}
		expect(t, "method", ask(http.MethodPut, ""), `400 {"code":3,"message":"Bad request"}`)
		expect(t, "method of nodes", ask("ABANDON", ""), `400 {"code":3,"message":"Bad request"}`)
		expect(t, "origin", ask(http.MethodGet, "", "Origin: https://evil.example"), `403 {"code":4,"message":"Forbidden"}`)
		expect(t, "two transports", ask(http.MethodGet, "&transport=websocket"), `400 {"code":0,"message":"Transport unknown"}`)
		expect(t, "two ids", ask(http.MethodGet, "&sid=x"), `400 {"code":1,"message":"Session ID unknown"}`)
		expect(t, "two revisions", ask(http.MethodGet, "&EIO=3"), `400 {"code":3,"message":"Bad request"}`)
		if n := b.link.published() - before; n != 0 {
			t.Errorf("%d messages", n)
		}
		text, header := b.do(t.Context(), http.MethodPost, id, "4hi", "Origin: http://node")
		expect(t, "same origin", text, "ok")
		expect(t, "CORS", header.Get("Access-Control-Allow-Origin"), "http://node")
		expect(t, "received", a.events(), "hi")
		expect(t, "not closed", a.events(), "")
	})
}

// A POST that is too large ends the session, as at its owner.
func TestElsewhereTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := three(t)
		id := a.open(t)
		answer := b.poll(t.Context(), id)
		w := httptest.NewRecorder()
		b.server.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/?EIO=4&transport=polling&sid="+id, strings.NewReader("4"+strings.Repeat("x", 1_000_000))))
		expect(t, "post", strconv.Itoa(w.Code), "413")
		expect(t, "get", <-answer, "1")
		expect(t, "session", a.events(), "closed: transport error")
	})
}

// What the owner refuses, other nodes do.
func TestElsewhereRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := three(t)
		id := a.open(t)
		text, _ := b.do(t.Context(), http.MethodPost, id, "4hi", "Content-Type: application/octet-stream")
		expect(t, "bytes", text, "400 ")
		expect(t, "session", a.events(), "closed: transport error")
		id = a.open(t)
		expect(t, "malformed", b.post(id, "abc"), "ok")
		expect(t, "session", a.events(), "closed: parse error")
	})
}

// Large requests and answers pass in pieces.
func TestElsewhereLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := three(t)
		id := a.open(t)
		large := strings.Repeat("0123456789", 99_000)
		expect(t, "post", b.post(id, "4"+large), "ok")
		expect(t, "received", a.events(), large)
		a.send(id, large)
		text, header := b.do(t.Context(), http.MethodGet, id, "", "Accept-Encoding: identity")
		expect(t, "answer", text, "4"+large)
		expect(t, "length", header.Get("Content-Length"), strconv.Itoa(len(large)+1))
		expect(t, "encoding", header.Get("Content-Encoding")+strings.Join(header.Values("Vary"), ", "), "Origin, Accept-Encoding")
		a.send(id, large)
		_, header = b.do(t.Context(), http.MethodGet, id, "", "Accept-Encoding: gzip")
		expect(t, "encoding", header.Get("Content-Encoding"), "gzip")
		expect(t, "session", a.events(), "")
	})
}

// A node that is about to end has its clients ask again, over new connections.
func TestElsewhereReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := three(t)
		id := a.open(t)
		answer := b.poll(t.Context(), id)
		close(b.release)
		expect(t, "answer", <-answer, "6")
		again := c.poll(t.Context(), id)
		a.send(id, "hello")
		expect(t, "then", <-again, "4hello")
		expect(t, "session", a.events(), "")
	})
}

// The owner is lost while a client polls at another node.
func TestElsewhereOwnerLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := three(t)
		id := a.open(t)
		answer := b.poll(t.Context(), id)
		start := time.Now()
		a.die()
		expect(t, "answer", <-answer, `400 {"code":1,"message":"Session ID unknown"}`)
		if took := time.Since(start); took > 8*time.Second {
			t.Error("it took", took)
		}
		expect(t, "later", c.get(id), `400 {"code":1,"message":"Session ID unknown"}`)
	})
}

// The owner ends as it should while a client polls at another node.
func TestElsewhereOwnerCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := three(t)
		id := a.open(t)
		answer := b.poll(t.Context(), id)
		if err := a.server.Close(t.Context(), 0); err != nil {
			t.Error(err)
		}
		expect(t, "answer", <-answer, "1")
		expect(t, "later", c.get(id), `400 {"code":1,"message":"Session ID unknown"}`)
	})
}

// The node that a client polls at is lost, and its client with it: the owner learns so.
func TestElsewhereOtherNodeLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, _ := three(t)
		id := a.open(t)
		_ = b.poll(t.Context(), id)
		b.die()
		time.Sleep(8 * time.Second)
		expect(t, "session", a.events(), "closed: transport error")
	})
}

// The broker is away: the owner serves its sessions, and other nodes say that they cannot reach it.
func TestElsewhereBrokerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := three(t)
		id, own := a.open(t), b.open(t)
		for _, n := range []*testNode{a, b, c} {
			n.link.setCut(true)
		}
		time.Sleep(20 * time.Second)
		start := time.Now()
		if got := b.get(id); !strings.HasPrefix(got, "503 ") {
			t.Errorf("another node answers %q", got)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Error("it took", took)
		}
		expect(t, "the owner", a.post(id, "4hi"), "ok")
		expect(t, "received", a.events(), "hi")
		expect(t, "own session", b.post(own, "4hello"), "ok")
		for _, n := range []*testNode{a, b, c} {
			n.link.setCut(false)
		}
		time.Sleep(10 * time.Second)
		expect(t, "then", c.post(own, "4again"), "ok")
		expect(t, "received", b.events(), "hello, again")
	})
}

// A message that the broker loses fails a request, and never leaves out what it carried.
func TestElsewhereLost(t *testing.T) {
	for _, lost := range []string{"request", "answer", "a piece"} {
		t.Run(lost, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, _ := three(t)
				id := a.open(t)
				expect(t, "before", b.post(id, "4before"), "ok")
				expect(t, "received", a.events(), "before")
				body := "4hi"
				if lost == "a piece" {
					body = "4" + strings.Repeat("x", 500_000)
				}
				at, number := a, 0
				if lost == "answer" {
					at = b
				}
				at.link.lose(func(e clusterEnvelope) bool {
					if !strings.Contains(e.Topic, "node/"+at.hub.Node()) {
						return false
					}
					number++
					return number == 1 && lost != "a piece" || number == 3 && lost == "a piece"
				})
				start := time.Now()
				if got := b.post(id, body); !strings.HasPrefix(got, "503 ") {
					t.Errorf("%q", got)
				}
				if took := time.Since(start); took > 10*time.Second {
					t.Error("it took", took)
				}
				events := strings.Split(a.events(), ", ")
				if !slices.Contains(events, "closed: transport error") || lost != "answer" && len(events) > 1 {
					t.Errorf("the session: %.100q", events)
				}
			})
		})
	}
}

// A client takes nothing of a large answer. Neither node waits for it for ever.
func TestElsewhereSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := engineio.Options{Options: connection.Options{PingInterval: 5 * time.Second, PingTimeout: 5 * time.Second}}
		cluster := newTestCluster(t, o, o)
		a, b := cluster.nodes[0], cluster.nodes[1]
		id := a.open(t)
		a.send(id, strings.Repeat("x", 900_000))
		conn, err := b.listener.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "GET /?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: node\r\n\r\n", id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		expect(t, "session", a.events(), "closed: ping timeout")
		if err := b.server.Close(t.Context(), 0); err != nil {
			t.Error(err)
		}
		if n := a.hub.Forwarding() + b.hub.Forwarding(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

// All nodes get another broker, with another key. Sessions stay, and any node takes their requests.
func TestElsewhereBrokerReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := withoutPings(engineio.Options{})
		cluster := newTestCluster(t, o, o)
		a, b := cluster.nodes[0], cluster.nodes[1]
		id, before := a.open(t), a.open(t)
		waits := b.poll(t.Context(), id)
		for _, n := range cluster.nodes {
			n.link = &link{Broker: cluster.broker.Peer(), key: []byte("the next secret")}
			if err := n.hub.SetBroker(n.link); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-waits; !strings.HasPrefix(got, "400 ") && !strings.HasPrefix(got, "503 ") {
			t.Errorf("a GET under way: %q", got)
		}
		expect(t, "its session", a.events(), "closed: transport error")
		time.Sleep(3 * time.Second)
		for _, id := range []string{before, a.open(t)} {
			expect(t, "post", b.post(id, "4hi"), "ok")
			expect(t, "received", a.events(), "hi")
		}
	})
}
