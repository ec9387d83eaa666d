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
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
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
	// Many at once, in segments that are cut anywhere.
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

// TestRead: the frames that one message can come in.
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

// TestViolations: what is answered by a close frame with a code.
func TestViolations(t *testing.T) {
	const limit = 100
	oversize := masked(fin|Text, strings.Repeat("x", limit+1))
	tests := []struct {
		name   string
		frames [][]byte
		code   int
		err    error
	}{
		{"text that is not UTF-8", [][]byte{masked(fin|Text, "a\xffb")}, 1007, errNotUTF8},
		{"half a character", [][]byte{masked(fin|Text, "a\xc3")}, 1007, errNotUTF8},
		{"half a surrogate pair", [][]byte{masked(fin|Text, "\xed\xa0\x80")}, 1007, errNotUTF8},
		{"not UTF-8 in fragments", [][]byte{masked(Text, "a\xc3"), masked(fin|continuation, "b")}, 1007, errNotUTF8},
		{"not UTF-8 in the first of more fragments", [][]byte{masked(Text, "a\xff")}, 1007, errNotUTF8},
		{"a character too large, in three fragments", [][]byte{masked(Text, "a\xf4"), masked(continuation, ""), masked(continuation, "\x90")}, 1007, errNotUTF8},
		{"not UTF-8 in the first half of a frame", [][]byte{masked(fin|Text, "\xce\xba\xe1\xbd\xb9\xf4\x90 and more")[:6+7]}, 1007, errNotUTF8},

		{"one byte too many", [][]byte{oversize}, 1009, errTooBig},
		{"too many in fragments", [][]byte{masked(Binary, strings.Repeat("x", 60)), masked(continuation, strings.Repeat("x", 41))}, 1009, errTooBig},
		{"a length that is announced only", [][]byte{{0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}}, 1009, errTooBig},
		{"the largest length", [][]byte{{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}}, 1009, errTooBig},

		{"an unmasked frame", [][]byte{{0x81, 1, 'x'}}, 1002, errProtocol},
		{"a reserved bit", [][]byte{masked(fin|0x40|Text, "x")}, 1002, errProtocol}, // that of permessage-deflate
		{"another reserved bit", [][]byte{masked(fin|0x20|Text, "x")}, 1002, errProtocol},
		{"a reserved opcode", [][]byte{masked(fin|3, "x")}, 1002, errProtocol},
		{"a reserved control opcode", [][]byte{masked(fin|0xb, "x")}, 1002, errProtocol},
		{"a ping in fragments", [][]byte{masked(ping, "x")}, 1002, errProtocol},
		{"a ping of 126 bytes", [][]byte{masked(fin|ping, strings.Repeat("x", 126))}, 1002, errProtocol},
		{"a continuation of nothing", [][]byte{masked(fin|continuation, "x")}, 1002, errProtocol},
		{"a message within another", [][]byte{masked(Text, "x"), masked(fin|Text, "y")}, 1002, errProtocol},
		{"close code 1005", [][]byte{masked(fin|closing, closePayload(1005, ""))}, 1002, errProtocol},
		{"close code 999", [][]byte{masked(fin|closing, closePayload(999, ""))}, 1002, errProtocol},
		{"a close reason that is not UTF-8", [][]byte{masked(fin|closing, closePayload(1000, "\xff"))}, 1002, errProtocol},
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

// TestTopBit: a length whose top bit is set, as in CVE-2020-27813.
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

// FuzzServer sends any bytes to a connection. It comes to an end, and what it reads keeps
// the promises of Read.
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

// TestReadAgain reads again and again from a connection that has failed. gorilla would
// panic.
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
