package wsconn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
)

// TestEcho carries messages of all sizes both ways, over a real socket.
func TestEcho(t *testing.T) {
	address := listen(t, 10<<20, func(c *Conn) {
		defer end(c)
		for {
			opcode, payload, err := c.Read(atMost(1 << 20))
			if err != nil {
				return
			}
			if err := c.Send(Frame(opcode, payload)); err != nil {
				t.Error(err)
			}
		}
	})
	ws := dial(t, address)
	for _, size := range []int{0, 1, 125, 126, 127, 4095, 4096, 65535, 65536, 1 << 20} {
		for _, opcode := range []int{Text, Binary} {
			payload := bytes.Repeat([]byte("x"), size)
			if opcode == Binary && size > 0 {
				payload[size-1] = 0xff
			}
			if err := ws.WriteMessage(opcode, payload); err != nil {
				t.Fatal(err)
			}
			gotOpcode, got, err := ws.ReadMessage()
			if err != nil || gotOpcode != opcode || !bytes.Equal(got, payload) {
				t.Fatalf("size %d, opcode %d: got %d bytes, opcode %d, %v", size, opcode, len(got), gotOpcode, err)
			}
		}
	}
	// Many at once, and torn anywhere.
	var all []byte
	for i := range 200 {
		all = append(all, masked(fin|Text, strings.Repeat("y", i*7))...)
	}
	go func() {
		for len(all) > 0 {
			n := min(len(all), 1+len(all)%1000)
			if _, err := ws.NetConn().Write(all[:n]); err != nil {
				t.Error(err)
				return
			}
			all = all[n:]
		}
	}()
	for i := range 200 {
		if _, got, err := ws.ReadMessage(); err != nil || len(got) != i*7 {
			t.Fatalf("message %d has %d bytes, %v", i, len(got), err)
		}
	}
}

// TestRead has what one message can be in.
func TestRead(t *testing.T) {
	tests := []struct {
		name   string
		frames [][]byte
		want   []string // opcode and payload of each message
	}{
		{"text", [][]byte{masked(fin|Text, "hello")}, []string{"1 hello"}},
		{"several", [][]byte{masked(fin|Text, "a"), masked(fin|Binary, "\xff"), masked(fin|Text, "")}, []string{"1 a", "2 \xff", "1 "}},
		{"fragments", [][]byte{masked(Text, "he"), masked(continuation, "l"), masked(fin|continuation, "lo"), masked(fin|Text, "x")}, []string{"1 hello", "1 x"}},
		{"empty fragments", [][]byte{masked(Binary, ""), masked(continuation, ""), masked(continuation, "x"), masked(fin|continuation, "")}, []string{"2 x"}},
		{"a character in two fragments", [][]byte{masked(Text, "\xc3"), masked(fin|continuation, "\xa4")}, []string{"1 ä"}},
		{"control frames between fragments", [][]byte{masked(Text, "a"), masked(fin|ping, "p"), masked(fin|pong, ""), masked(fin|continuation, "b")}, []string{"1 ab"}},
		{"exactly the limit", [][]byte{masked(fin|Text, strings.Repeat("x", 100)), masked(Text, strings.Repeat("y", 60)), masked(fin|continuation, strings.Repeat("y", 40))}, []string{"1 " + strings.Repeat("x", 100), "1 " + strings.Repeat("y", 100)}},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			c, p := pipe(t)
			go func() {
				p.send(t, test.frames...)
				p.send(t, masked(fin|closing, ""))
				p.rest(t)
				p.Close()
			}()
			var got []string
			for {
				opcode, payload, err := c.Read(atMost(100))
				if err != nil {
					if !websocket.IsCloseError(err, websocket.CloseNoStatusReceived) || Violation(err) {
						t.Errorf("%s: %v", test.name, err)
					}
					break
				}
				got = append(got, fmt.Sprintf("%d %s", opcode, payload))
			}
			end(c)
			if !slices.Equal(got, test.want) {
				t.Errorf("%s: got %q, want %q", test.name, got, test.want)
			}
		})
	}
}

// TestPayloadIsOurs keeps one message while the next are read.
func TestPayloadIsOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t)
		go func() {
			p.send(t, masked(fin|Text, "first"), masked(fin|Text, "other"), masked(fin|Text, "third"))
		}()
		var payloads [][]byte
		for range 3 {
			_, payload, err := c.Read(atMost(100))
			if err != nil {
				t.Fatal(err)
			}
			payloads = append(payloads, payload)
		}
		if got := string(bytes.Join(payloads, nil)); got != "firstotherthird" {
			t.Errorf("got %q", got)
		}
		p.Close()
		end(c)
	})
}

// TestViolations has what is answered with a close frame of its own.
func TestViolations(t *testing.T) {
	const limit = 100
	oversize := masked(fin|Text, strings.Repeat("x", limit+1))
	tests := []struct {
		name   string
		frames [][]byte
		code   int
		err    error
	}{
		{"text that is not UTF-8", [][]byte{masked(fin|Text, "a\xffb")}, 1007, ErrNotUTF8},
		{"half a character", [][]byte{masked(fin|Text, "a\xc3")}, 1007, ErrNotUTF8},
		{"half a surrogate pair", [][]byte{masked(fin|Text, "\xed\xa0\x80")}, 1007, ErrNotUTF8},
		{"not UTF-8 in fragments", [][]byte{masked(Text, "a\xc3"), masked(fin|continuation, "b")}, 1007, ErrNotUTF8},
		{"not UTF-8 in the first of more fragments", [][]byte{masked(Text, "a\xff")}, 1007, ErrNotUTF8},
		{"a character too large, in three fragments", [][]byte{masked(Text, "a\xf4"), masked(continuation, ""), masked(continuation, "\x90")}, 1007, ErrNotUTF8},
		{"not UTF-8 in the first half of a frame", [][]byte{masked(fin|Text, "\xce\xba\xe1\xbd\xb9\xf4\x90 and more")[:6+7]}, 1007, ErrNotUTF8},

		{"one byte too many", [][]byte{oversize}, 1009, ErrTooBig},
		{"too many in fragments", [][]byte{masked(Binary, strings.Repeat("x", 60)), masked(continuation, strings.Repeat("x", 41))}, 1009, ErrTooBig},
		{"a length that is announced only", [][]byte{{0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}}, 1009, ErrTooBig},
		{"the largest length", [][]byte{{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}}, 1009, ErrTooBig},

		{"an unmasked frame", [][]byte{{0x81, 1, 'x'}}, 1002, ErrProtocol},
		{"a reserved bit", [][]byte{masked(fin|0x40|Text, "x")}, 1002, ErrProtocol}, // that of permessage-deflate
		{"another reserved bit", [][]byte{masked(fin|0x20|Text, "x")}, 1002, ErrProtocol},
		{"a reserved opcode", [][]byte{masked(fin|3, "x")}, 1002, ErrProtocol},
		{"a reserved control opcode", [][]byte{masked(fin|0xb, "x")}, 1002, ErrProtocol},
		{"a ping in fragments", [][]byte{masked(ping, "x")}, 1002, ErrProtocol},
		{"a ping of 126 bytes", [][]byte{masked(fin|ping, strings.Repeat("x", 126))}, 1002, ErrProtocol},
		{"a continuation of nothing", [][]byte{masked(fin|continuation, "x")}, 1002, ErrProtocol},
		{"a message within another", [][]byte{masked(Text, "x"), masked(fin|Text, "y")}, 1002, ErrProtocol},
		{"close code 1005", [][]byte{masked(fin|closing, closePayload(1005, ""))}, 1002, ErrProtocol},
		{"close code 999", [][]byte{masked(fin|closing, closePayload(999, ""))}, 1002, ErrProtocol},
		{"a close reason that is not UTF-8", [][]byte{masked(fin|closing, closePayload(1000, "\xff"))}, 1002, ErrProtocol},
	}
	for _, test := range tests {
		for _, after := range []string{"nothing", "more"} {
			synctest.Test(t, func(t *testing.T) {
				c, p := pipe(t)
				frames := make(chan []frame)
				go func() {
					frames <- p.rest(t)
				}()
				go func() {
					p.send(t, test.frames...)
					if after == "more" {
						_, _ = p.Write(bytes.Repeat([]byte("more"), 1000))
					}
				}()
				_, _, err := c.Read(atMost(limit))
				if !errors.Is(err, test.err) || !Violation(err) {
					t.Errorf("%s: Read: %v", test.name, err)
				}
				start := time.Now()
				end(c)
				if took := time.Since(start); took > closeTimeout {
					t.Errorf("%s, then %s: draining took %v", test.name, after, took)
				}
				got := <-frames
				if len(got) == 0 || got[0].opcode != closing || len(got[0].payload) < 2 || got[0].payload[:2] != closePayload(test.code, "") {
					t.Errorf("%s: the peer got %q, want close code %d", test.name, got, test.code)
				}
				p.Close()
			})
		}
	}
}

// TestTopBit has a length whose top bit is set, as in CVE-2020-27813.
func TestTopBit(t *testing.T) {
	for _, length := range []string{"\x80\x00\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xff"} {
		for _, before := range [][]byte{nil, masked(Text, "first fragment")} {
			synctest.Test(t, func(t *testing.T) {
				c, p := pipe(t)
				frames := make(chan []frame)
				go func() { frames <- p.rest(t) }()
				first := "\x82"
				if before != nil {
					first = "\x80"
				}
				go p.send(t, before, []byte(first+"\xff"+length+"\x00\x00\x00\x00hello"))
				if _, _, err := c.Read(atMost(1000)); !Violation(err) {
					t.Errorf("Read: %v", err)
				}
				end(c)
				got := <-frames
				p.Close()
				if len(got) == 0 || got[0].payload != closePayload(1002, "") && got[0].payload != closePayload(1009, "") {
					t.Errorf("the peer got %q", got)
				}
			})
		}
	}
}

// TestOneCloseFrame counts the close frames of a conversation whose server
// closes after each error from Read, as one does that has a close code for it.
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
				// The second one, if there is, is gorilla's echo of the answer.
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

// talkOn sends the same again and again until the connection ends.
func talkOn(p *peer, what []byte) {
	for {
		if _, err := p.Write(what); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestCloseEcho has clients close the connection over what cannot be tried,
// such as TLS: each must get its answer.
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

// TestResetDoesNotOvertake sends far more than is let in: the close frame must
// arrive, although there is input unread when it is sent.
func TestResetDoesNotOvertake(t *testing.T) {
	address := listen(t, 1000, func(c *Conn) {
		allow(c, 2*patience)
		defer end(c)
		if _, _, err := c.Read(atMost(100)); !errors.Is(err, ErrTooBig) {
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

func TestPingPong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t)
		pongs := 0
		c.OnPong(func() { pongs++ })
		frames := make(chan []frame)
		go func() { frames <- p.rest(t) }()
		if err := c.Ping(); err != nil {
			t.Error(err)
		}
		go p.send(t, masked(fin|ping, "are you there?"), masked(fin|pong, ""), masked(fin|pong, "unasked"), masked(fin|Text, "x"))
		if _, payload, err := c.Read(atMost(100)); err != nil || string(payload) != "x" {
			t.Error(payload, err)
		}
		if pongs != 2 {
			t.Errorf("%d pongs", pongs)
		}
		go p.send(t, masked(fin|closing, ""))
		_, _, _ = c.Read(atMost(100))
		synctest.Wait()
		end(c)
		got := <-frames
		if len(got) < 2 || got[0] != (frame{ping, ""}) || got[1] != (frame{pong, "are you there?"}) {
			t.Errorf("the peer got %q", got)
		}
		p.Close()
	})
}

func TestReadDeadline(t *testing.T) {
	for _, network := range []string{"memory", "tcp"} {
		done := make(chan struct{})
		check := func(c *Conn) {
			defer close(done)
			defer c.Release()
			c.SetReadDeadline(time.Now().Add(-time.Second))
			if _, _, err := c.Read(atMost(100)); !isTimeout(err) || Violation(err) {
				t.Errorf("%s: %v", network, err)
			}
		}
		if network == "memory" {
			synctest.Test(t, func(t *testing.T) {
				c, p := pipe(t)
				check(c)
				p.Close()
			})
		} else {
			dial(t, listen(t, 1000, check))
		}
		within(t, "the reader", done)
	}
}

// TestPeerGone ends connections without a close frame.
func TestPeerGone(t *testing.T) {
	for name, gone := range map[string]func(*peer){
		"in peace":               func(p *peer) { p.Close() },
		"by a reset":             func(p *peer) { _ = p.Conn.(*net.TCPConn).SetLinger(0); p.Close() },
		"in the midst of a head": func(p *peer) { _, _ = p.Write([]byte{0x81}); p.Close() },
		"in the midst of a body": func(p *peer) { _, _ = p.Write(masked(fin|Text, "hello")[:8]); p.Close() },
		"between fragments":      func(p *peer) { _, _ = p.Write(masked(Text, "hello")); p.Close() },
		"its sending half":       func(p *peer) { _ = p.Conn.(*net.TCPConn).CloseWrite() },
	} {
		result := make(chan error, 1)
		address := listen(t, 1000, func(c *Conn) {
			defer end(c)
			_, _, err := c.Read(atMost(100))
			result <- err
		})
		gone(dialRaw(t, address))
		if err := within(t, name, result); err == nil || Violation(err) {
			t.Errorf("gone %s: %v", name, err)
		}
	}
}

// TestBatch checks that the answers to what arrived together leave together.
func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		counted := &countingConn{Conn: near}
		answer := make(chan int)
		go func() {
			buffer := make([]byte, 1000)
			for {
				n, err := far.Read(buffer)
				if err != nil {
					close(answer)
					return
				}
				answer <- n
			}
		}()
		c := accept(t, counted, 1000)
		<-answer // to the handshake
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer end(c)
			for {
				_, payload, err := c.Read(atMost(100))
				if err != nil {
					return
				}
				if err := c.SendIn(c.Batch(), Frame(Text, payload)); err != nil {
					t.Error(err)
				}
			}
		}()
		for _, together := range []int{1, 3, 10, 1} {
			writes := counted.writes
			p := &peer{Conn: far}
			p.send(t, bytes.Repeat(masked(fin|Text, "x"), together))
			if got := <-answer; got != 3*together {
				t.Errorf("%d answers in %d bytes", together, got)
			}
			synctest.Wait()
			if counted.writes != writes+1 {
				t.Errorf("%d answers in %d writes", together, counted.writes-writes)
			}
		}
		far.Close()
		<-done
	})
}

type countingConn struct {
	net.Conn
	writes int
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes++
	return c.Conn.Write(p)
}

// TestBatchEnds has what was sent to another connection in a batch arrive
// there, however the batch's own connection ends.
func TestBatchEnds(t *testing.T) {
	for name, last := range map[string][]byte{
		"closed":             masked(fin|closing, ""),
		"breach":             masked(fin|3, ""),
		"too big":            masked(fin|Text, strings.Repeat("x", 101)),
		"cut off":            nil,
		"half a frame":       {0x81},
		"another, not read":  masked(fin|Text, "more"),
		"a flood, not read":  bytes.Repeat(masked(fin|Text, "more"), 1000),
		"a breach, not read": slices.Concat(masked(fin|Text, "more"), masked(fin|3, "")),
	} {
		synctest.Test(t, func(t *testing.T) {
			c, p := pipe(t)
			other, otherPeer := pipe(t)
			got := make(chan frame, 10)
			go func() {
				defer close(got)
				for {
					f, err := otherPeer.read()
					if err != nil {
						return
					}
					got <- f
				}
			}()
			go func() { p.rest(t) }()
			go func() {
				_, _ = p.Write(slices.Concat(masked(fin|Text, "first"), last))
				p.Close()
			}()
			if _, _, err := c.Read(atMost(100)); err != nil {
				t.Fatal(err)
			}
			batch := c.Batch()
			if err := other.SendIn(batch, Frame(Text, []byte("in time"))); err != nil {
				t.Error(err)
			}
			if !strings.HasSuffix(name, "not read") {
				if _, _, err := c.Read(atMost(100)); err == nil {
					t.Error("no error")
				}
			}
			end(c)
			synctest.Wait()
			inTime := len(got)
			if err := other.SendIn(batch, Frame(Text, []byte("late"))); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			late := len(got) - inTime
			otherPeer.Close()
			other.Release()
			for range got {
			}
			if inTime != 1 || late != 1 {
				t.Errorf("%s: %d of 1 messages in time, %d of 1 late", name, inTime, late)
			}
		})
	}
}

// FuzzServer feeds raw bytes to a connection: whatever they are, it comes to an
// end, and what it reads is what it promises.
func FuzzServer(f *testing.F) {
	for _, sample := range [][]byte{
		nil,
		masked(fin|Text, "hello"), masked(fin|Text, "\xff"), masked(fin|closing, closePayload(1000, "bye")),
		slices.Concat(masked(Text, "a"), masked(fin|ping, "p"), masked(fin|continuation, "b"), masked(fin|Binary, "")),
		masked(fin|Text, strings.Repeat("x", 300)), bytes.Repeat(masked(fin|pong, ""), 50),
		[]byte("\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), []byte("\x81\xfe\x00\x01\x00\x00\x00\x00x"),
		[]byte("\xc1\x80\x00\x00\x00\x00"), []byte("GET / HTTP/1.1\r\n\r\n"), bytes.Repeat([]byte{0x81}, 1500),
	} {
		f.Add(sample, uint8(3), false)
		f.Add(sample, uint8(3), true)
	}
	f.Add(masked(fin|compressed|Text, deflated("hello hello hello")), uint8(5), true)
	f.Fuzz(func(t *testing.T, data []byte, step uint8, compress bool) {
		const limit = 200
		conn := &scriptConn{input: data, step: 1 + int(step)}
		c := acceptOffering(t, conn, "permessage-deflate", Options{Queue: fixed(10_000), Compress: compress})
		c.OnPong(func() {})
		for {
			opcode, payload, err := c.Read(atMost(limit))
			if err != nil {
				break
			}
			if opcode != Text && opcode != Binary || len(payload) > limit || opcode == Text && !utf8.Valid(payload) {
				t.Fatalf("read opcode %d, %q", opcode, payload)
			}
			_ = c.SendIn(c.Batch(), Frame(opcode, payload)) // its error is that of a full queue
		}
		c.Close(1001, "", false)
		flushed(c)
		end(c)
		out := conn.written()
		_, after, found := bytes.Cut(out, []byte("\r\n\r\n"))
		if !found {
			t.Fatalf("no handshake: %q", out)
		}
		p := &peer{reader: newReader(after)}
		closed := false
		for _, f := range p.rest(t) {
			if closed && f.opcode != closing { // see TestOneCloseFrame
				t.Fatalf("%d after the close frame", f.opcode)
			}
			closed = closed || f.opcode == closing
		}
		if !closed {
			t.Fatal("no close frame")
		}
	})
}

// TestReadAgain is here for what gorilla would panic about: reading on and on
// from a connection that has failed.
func TestReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipe(t)
		p.Close()
		for range 100 {
			if _, _, err := c.Read(atMost(100)); err == nil || errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		end(c)
		end(c)
	})
}

var _ io.Reader = (*peer)(nil)
