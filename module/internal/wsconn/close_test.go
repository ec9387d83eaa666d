package wsconn

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
)

// TestOneCloseFrame: a peer gets one close frame, although the server calls Close after each
// error of Read, too.
func TestOneCloseFrame(t *testing.T) {
	for name, sent := range map[string][]byte{
		"the peer closes":        masked(fin|closing, closePayload(1000, "bye")),
		"a breach":               masked(fin|3, ""),
		"too big":                masked(fin|Text, strings.Repeat("x", 101)),
		"not UTF-8":              masked(fin|Text, "\xff"),
		"a ping, then the close": slices.Concat(masked(fin|ping, "p"), masked(fin|closing, "")),
	} {
		synctest.Test(t, func(t *testing.T) {
			c, p := pipe(t)
			frames := make(chan []frame)
			go func() { frames <- p.rest(t) }()
			go p.send(t, sent)
			if _, _, err := c.Read(atMost(100)); err == nil {
				t.Error("no error")
			}
			c.Close(0, "", false)
			synctest.Wait()
			end(c)
			closes := 0
			got := <-frames
			for _, f := range got {
				if f.opcode == closing {
					closes++
				}
			}
			if closes != 1 || got[len(got)-1].opcode != closing {
				t.Errorf("%s: the peer got %q", name, got)
			}
			p.Close()
		})
	}
}

func TestCloseHandshake(t *testing.T) {
	tests := []struct {
		code   int
		reason string
		want   string
	}{
		{0, "", ""}, {0, "lost without a code", ""}, {1001, "", closePayload(1001, "")}, {1008, "policy", closePayload(1008, "policy")},
	}
	for _, test := range tests {
		for _, discard := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				c, p := pipe(t)
				got := make(chan []frame)
				go func() {
					all := []frame{}
					for {
						f, err := p.read()
						if err != nil {
							break
						}
						all = append(all, f)
						if f.opcode == closing {
							p.send(t, masked(fin|Text, "still here"), masked(fin|closing, f.payload))
						}
					}
					got <- all
				}()
				if err := c.Send(Frame(Text, []byte("before"))); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				c.Close(test.code, test.reason, discard)
				if err := c.Send(Frame(Text, []byte("after"))); !errors.Is(err, outbox.ErrClosed) {
					t.Error("sending after Close:", err)
				}
				opcode, payload, err := c.Read(atMost(100))
				if err != nil || opcode != Text || string(payload) != "still here" {
					t.Errorf("reading after Close: %q, %v", payload, err)
				}
				_, _, err = c.Read(atMost(100))
				if _, ok := errors.AsType[*websocket.CloseError](err); !ok || Violation(err) {
					t.Errorf("reading the answer: %v", err)
				}
				start := time.Now()
				end(c)
				if took := time.Since(start); took != 0 {
					t.Errorf("ending took %v although the peer has answered", took)
				}
				all := <-got
				// gorilla may echo the answer by a second one.
				if len(all) < 2 || all[0] != (frame{Text, "before"}) || all[1] != (frame{closing, test.want}) {
					t.Errorf("code %d: the peer got %q", test.code, all)
				}
				p.Close()
			})
		}
	}
}

// TestCloseTimeout closes a connection whose peer does not answer.
func TestCloseTimeout(t *testing.T) {
	for name, talk := range map[string]func(p *peer){
		"silent":    func(*peer) {},
		"deaf":      nil,
		"talkative": func(p *peer) { talkOn(p, masked(fin|Text, "and another thing")) },
		"pinging":   func(p *peer) { talkOn(p, masked(fin|ping, "")) },
		"babbling":  func(p *peer) { talkOn(p, bytes.Repeat([]byte{0xff}, 100)) },
	} {
		synctest.Test(t, func(t *testing.T) {
			c, p := pipe(t)
			var talking sync.WaitGroup
			if talk != nil {
				talking.Go(func() { p.rest(t) })
				talking.Go(func() { talk(p) })
			}
			c.Close(1001, "", false)
			start := time.Now()
			var err error
			for err == nil {
				_, _, err = c.Read(atMost(100))
			}
			if took := time.Since(start); took > closeTimeout {
				t.Errorf("%s: Read took %v", name, took)
			}
			if name == "silent" && !isTimeout(err) {
				t.Errorf("%s: %v", name, err)
			}
			end(c)
			if took := time.Since(start); took > 2*closeTimeout {
				t.Errorf("%s: the end took %v", name, took)
			}
			p.Close()
			talking.Wait()
		})
	}
}

// talkOn sends the same bytes again and again until the connection ends.
func talkOn(p *peer, what []byte) {
	for {
		if _, err := p.Write(what); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestCloseEcho: clients close a connection that has no file descriptor of its own, such as
// TLS. Each must get its answer.
func TestCloseEcho(t *testing.T) {
	unclean := 0
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			c, p := pipe(t)
			frames := make(chan []frame)
			go func() { frames <- p.rest(t) }()
			go p.send(t, masked(fin|closing, closePayload(1000, "bye")))
			if _, _, err := c.Read(atMost(100)); !websocket.IsCloseError(err, 1000) {
				t.Error(err)
			}
			end(c)
			if got := <-frames; len(got) == 0 || got[0] != (frame{closing, closePayload(1000, "")}) {
				unclean++
			}
			p.Close()
		})
	}
	if unclean > 0 {
		t.Errorf("%d of 100 clients got no answer to their close frame", unclean)
	}
}

// TestSlowPeer closes a connection that has much to read yet.
func TestSlowPeer(t *testing.T) {
	for _, discard := range []bool{false, true} {
		address := listen(t, 1<<30, func(c *Conn) {
			allow(c, 2*patience)
			defer end(c)
			big := Frame(Binary, make([]byte, 100_000))
			for c.Idle() {
				if err := c.Send(big); err != nil {
					t.Error(err)
					break
				}
			}
			for range 20 {
				if err := c.Send(big); err != nil {
					t.Error(err)
				}
			}
			c.Close(1013, "slow", discard)
			if _, _, err := c.Read(atMost(100)); err == nil {
				t.Error("read something")
			}
		})
		ws := dial(t, address)
		_ = ws.SetReadDeadline(time.Now().Add(patience))
		for n := 0; ; n++ {
			_, payload, err := ws.ReadMessage()
			if err != nil {
				if !websocket.IsCloseError(err, 1013) {
					t.Errorf("discard %v: after %d messages: %v", discard, n, err)
				}
				if !discard && n < 20 {
					t.Errorf("%d messages, want all that was sent", n)
				}
				break
			}
			if len(payload) != 100_000 {
				t.Fatalf("a message of %d bytes", len(payload))
			}
		}
	}
}

// TestResetDoesNotOvertake sends far more than the limit. The close frame must arrive,
// although there is unread input when it is sent.
func TestResetDoesNotOvertake(t *testing.T) {
	address := listen(t, 1000, func(c *Conn) {
		allow(c, 2*patience)
		defer end(c)
		if _, _, err := c.Read(atMost(100)); !errors.Is(err, errTooBig) {
			t.Error(err)
		}
	})
	for range 10 {
		ws := dial(t, address)
		_ = ws.NetConn().SetDeadline(time.Now().Add(patience))
		if err := ws.WriteMessage(Binary, make([]byte, 4<<20)); err != nil {
			t.Error("the connection was reset while the client was sending:", err)
		}
		if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
			t.Errorf("the client got %v", err)
		}
		ws.Close()
	}
}
