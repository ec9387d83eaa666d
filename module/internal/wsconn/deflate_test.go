package wsconn

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// acceptOffering is accept for a peer that asks for extensions.
func acceptOffering(t testing.TB, conn net.Conn, offer string, o Options) *Conn {
	t.Helper()
	r := upgradeRequest()
	r.Header.Set("Sec-WebSocket-Extensions", offer)
	c, err := Upgrade(&hijackable{conn: conn, header: make(http.Header)}, r, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pipeDeflating is pipe for a peer that has negotiated compression.
func pipeDeflating(t testing.TB, queue int) (*Conn, *peer) {
	t.Helper()
	near, far := net.Pipe()
	c := acceptOffering(t, near, "permessage-deflate", Options{Queue: fixed(queue), Compress: true})
	if !c.Deflates() {
		t.Fatal("not negotiated")
	}
	p := &peer{Conn: far, reader: newReader(nil)}
	p.reader.Reset(far)
	if r, err := http.ReadResponse(p.reader, nil); err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(r, err)
	}
	flushed(c)
	return c, p
}

// deflated is a message as a client compresses it.
func deflated(payload string) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(w, payload)
	_ = w.Flush()
	return strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")
}

// final is deflated, but ends with a final block (RFC 7692, section 7.2.3.4).
func final(payload string) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(w, payload)
	_ = w.Close()
	return b.String() + "\x00"
}

// inflate is the inverse of what Deflate does to a payload, by RFC 7692,
// section 7.2.2.
func inflate(t testing.TB, payload []byte) string {
	t.Helper()
	got, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(payload), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func TestDeflate(t *testing.T) {
	for _, size := range []int{0, 1, 10, 125, 126, 127, 1024, 65535, 65536, 1 << 20} {
		for _, opcode := range []int{Text, Binary} {
			payload := strings.Repeat("0123456789 is what there is, and ", size/30+1)[:size]
			frame := Frame(opcode, []byte(payload))
			if n := PayloadSize(frame); n != size {
				t.Fatalf("a frame of %d bytes seems to have %d", size, n)
			}
			got := Deflate(frame)
			if !bytes.Equal(frame, Frame(opcode, []byte(payload))) {
				t.Fatal("the frame was changed")
			}
			if got[0]&compressed == 0 {
				if size > 127 || &got[0] != &frame[0] {
					t.Errorf("%d bytes were not compressed", size)
				}
				continue
			}
			if got[0] != byte(fin|compressed|opcode) || len(got) >= len(frame) || inflate(t, payloadOf(got)) != payload {
				t.Errorf("%d bytes became %d, which begin with %x", len(frame), len(got), got[0])
			}
		}
	}
}

// TestDeflateNoise: what does not become smaller is not compressed.
func TestDeflateNoise(t *testing.T) {
	for _, size := range []int{1, 100, 5000, 300_000} {
		noise := make([]byte, size)
		_, _ = rand.Read(noise)
		frame := Frame(Binary, noise)
		if got := Deflate(frame); &got[0] != &frame[0] {
			t.Errorf("noise of %d bytes became %d", len(frame), len(got))
		}
	}
}

// TestDeflateIndependent: a message is the same whatever was compressed before.
func TestDeflateIndependent(t *testing.T) {
	a, b := Frame(Text, bytes.Repeat([]byte("first message "), 200)), Frame(Text, bytes.Repeat([]byte("second message "), 200))
	first := Deflate(a)
	for range 20 {
		if inflate(t, payloadOf(Deflate(b))) != string(payloadOf(b)) || !bytes.Equal(Deflate(a), first) {
			t.Fatal("a message depends on another")
		}
	}
}

// TestDeflateEcho has a real client that compresses.
func TestDeflateEcho(t *testing.T) {
	address := listenWith(t, Options{Queue: fixed(10 << 20), Compress: true}, func(c *Conn) {
		defer end(c)
		for {
			opcode, payload, err := c.Read(atMost(1 << 20))
			if err != nil {
				return
			}
			if err := c.Send(Deflate(Frame(opcode, payload))); err != nil {
				t.Error(err)
			}
		}
	})
	dialer := websocket.Dialer{EnableCompression: true}
	ws, response, err := dialer.Dial("ws://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	if got := response.Header.Get("Sec-WebSocket-Extensions"); !strings.HasPrefix(got, "permessage-deflate") {
		t.Fatalf("negotiated %q", got)
	}
	for _, size := range []int{0, 1, 125, 126, 4096, 65536, 1 << 20} {
		for _, compress := range []bool{true, false} {
			ws.EnableWriteCompression(compress)
			payload := bytes.Repeat([]byte("äb"), size/3+1)[:size/3*3]
			if err := ws.WriteMessage(Text, payload); err != nil {
				t.Fatal(err)
			}
			if _, got, err := ws.ReadMessage(); err != nil || !bytes.Equal(got, payload) {
				t.Fatalf("size %d, compressed %v: got %d bytes, %v", size, compress, len(got), err)
			}
		}
	}
}

// TestInflate: the frames that a compressed message can come in, and must not.
func TestInflate(t *testing.T) {
	const limit = 1000
	const rsv1 = compressed
	text := strings.Repeat("hello ", 100)
	noise := make([]byte, limit)
	_, _ = rand.Read(noise)
	half := len(deflated(text)) / 2
	tests := []struct {
		name   string
		frames [][]byte
		want   string // opcode and payload
		code   int    // of the close frame, where err is set
		err    error
	}{
		{name: "text", frames: [][]byte{masked(fin|rsv1|Text, deflated(text))}, want: "1 " + text},
		{name: "binary", frames: [][]byte{masked(fin|rsv1|Binary, deflated("\xff\xfe"))}, want: "2 \xff\xfe"},
		{name: "nothing", frames: [][]byte{masked(fin|rsv1|Text, "\x00")}, want: "1 "},
		{name: "not compressed", frames: [][]byte{masked(fin|Text, text)}, want: "1 " + text},
		{name: "fragments", frames: [][]byte{masked(rsv1|Text, deflated(text)[:half]), masked(fin|ping, ""), masked(continuation, ""), masked(fin|continuation, deflated(text)[half:])}, want: "1 " + text},
		{name: "a final block", frames: [][]byte{masked(fin|rsv1|Text, final(text))}, want: "1 " + text},
		{name: "exactly the limit", frames: [][]byte{masked(fin|rsv1|Text, deflated(strings.Repeat("x", limit)))}, want: "1 " + strings.Repeat("x", limit)},
		{name: "noise of the limit", frames: [][]byte{masked(fin|rsv1|Binary, deflated(string(noise)))}, want: "2 " + string(noise)},

		{name: "one byte too many", frames: [][]byte{masked(fin|rsv1|Text, deflated(strings.Repeat("x", limit+1)))}, code: 1009, err: errTooBig},
		{name: "one byte too many, not compressed", frames: [][]byte{masked(fin|Text, strings.Repeat("x", limit+1))}, code: 1009, err: errTooBig},
		{name: "a bomb", frames: [][]byte{masked(fin|rsv1|Binary, deflated(strings.Repeat("\x00", 900_000)))}, code: 1009, err: errTooBig},
		{name: "a bomb in fragments", frames: [][]byte{masked(rsv1|Text, deflated(strings.Repeat("x", 90_000))[:50]), masked(fin|continuation, deflated(strings.Repeat("x", 90_000))[50:])}, code: 1009, err: errTooBig},
		{name: "blocks of nothing", frames: [][]byte{masked(fin|rsv1|Text, strings.Repeat("\x00\x00\x00\xff\xff", 1000))}, code: 1009, err: errTooBig},

		{name: "text that is not UTF-8", frames: [][]byte{masked(fin|rsv1|Text, deflated("a\xffb"))}, code: 1007, err: errNotUTF8},
		{name: "half a character", frames: [][]byte{masked(fin|rsv1|Text, deflated(text+"\xc3"))}, code: 1007, err: errNotUTF8},

		{name: "no data", frames: [][]byte{masked(fin|rsv1|Text, "")}, code: 1002, err: errProtocol},
		{name: "noise", frames: [][]byte{masked(fin|rsv1|Binary, "\xff\xff\xff\xff\xff\xff\xff\xff")}, code: 1002, err: errProtocol},
		{name: "plain text that claims to be compressed", frames: [][]byte{masked(fin|rsv1|Text, text)}, code: 1002, err: errProtocol},
		{name: "a reserved kind of block", frames: [][]byte{masked(fin|rsv1|Text, "\x06")}, code: 1002, err: errProtocol},
		{name: "a broken length", frames: [][]byte{masked(fin|rsv1|Text, "\x00\x05\x00\xfb\xffhello")}, code: 1002, err: errProtocol},
		{name: "a part is missing", frames: [][]byte{masked(fin|rsv1|Text, deflated(text)[:half])}, code: 1002, err: errProtocol},
		{name: "a part is missing in fragments", frames: [][]byte{masked(rsv1|Text, deflated(text)[:half]), masked(fin|continuation, "")}, code: 1002, err: errProtocol},
		{name: "an earlier message's window", frames: [][]byte{masked(fin|rsv1|Text, "\x4a\x05\x33\x00")}, code: 1002, err: errProtocol},
		{name: "a continuation that is compressed", frames: [][]byte{masked(rsv1|Text, deflated(text)[:half]), masked(fin|rsv1|continuation, deflated(text)[half:])}, code: 1002, err: errProtocol},
		{name: "a ping that is compressed", frames: [][]byte{masked(fin|rsv1|ping, "")}, code: 1002, err: errProtocol},
		{name: "a close frame that is compressed", frames: [][]byte{masked(fin|rsv1|closing, "")}, code: 1002, err: errProtocol},
		{name: "a ping that is compressed, in a message", frames: [][]byte{masked(Text, text[:10]), masked(fin|rsv1|ping, "ping"), masked(fin|continuation, text)}, code: 1002, err: errProtocol},
		{name: "another reserved bit", frames: [][]byte{masked(fin|rsv1|0x20|Text, deflated(text))}, code: 1002, err: errProtocol},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			c, p := pipeDeflating(t, 10_000)
			frames := make(chan []frame)
			go func() { frames <- p.rest(t) }()
			go func() {
				p.send(t, test.frames...)
				if test.err == nil {
					p.send(t, masked(fin|closing, closePayload(1000, "")))
				}
			}()
			opcode, payload, err := c.Read(atMost(limit))
			switch {
			case test.err != nil:
				if !errors.Is(err, test.err) || !Violation(err) {
					t.Errorf("%s: Read: %d %q, %v", test.name, opcode, payload, err)
				}
			case err != nil:
				t.Errorf("%s: Read: %v", test.name, err)
			default:
				if got := fmt.Sprintf("%d %s", opcode, payload); got != test.want {
					t.Errorf("%s: got %q, want %q", test.name, got, test.want)
				}
				test.code = 1000
				if _, _, err := c.Read(atMost(limit)); !websocket.IsCloseError(err, 1000) {
					t.Errorf("%s: then: %v", test.name, err)
				}
			}
			end(c)
			got := <-frames
			if len(got) > 0 && got[0].opcode == pong {
				got = got[1:]
			}
			if len(got) == 0 || got[0].opcode != closing || len(got[0].payload) < 2 || got[0].payload[:2] != closePayload(test.code, "") {
				t.Errorf("%s: the peer got %q, want close code %d", test.name, got, test.code)
			}
			p.Close()
		})
	}
}

// TestCompressedBit: the frames before a frame that must not have the bit are read as ever,
// however the bytes are cut.
func TestCompressedBit(t *testing.T) {
	sizes := []int{0, 1, 125, 126, 300, 65535, 65536, 70_000}
	var input []byte
	for _, size := range sizes {
		input = append(input, masked(fin|Binary, strings.Repeat("\xc9", size))...) // which looks like the ping
		input = append(input, masked(fin|compressed|Binary, deflated(strings.Repeat("\xc9", size)))...)
		input = append(input, masked(fin|pong, "\xc9")...)
	}
	input = append(input, masked(fin|compressed|ping, "")...)
	input = append(input, masked(fin|Binary, "after")...)
	for _, step := range []int{1, 2, 7, 1000, len(input)} {
		c := acceptOffering(t, &scriptConn{input: input, step: step}, "permessage-deflate", Options{Queue: fixed(1000), Compress: true})
		for i := range 2 * len(sizes) {
			if _, payload, err := c.Read(atMost(100_000)); err != nil || len(payload) != sizes[i/2] {
				t.Fatalf("%d bytes at a time: message %d has %d bytes, %v", step, i, len(payload), err)
			}
		}
		if _, payload, err := c.Read(atMost(100_000)); !errors.Is(err, errProtocol) {
			t.Errorf("%d bytes at a time: then %q, %v", step, payload, err)
		}
		flushed(c)
		end(c)
	}
}

// TestInflateCutOff: if the network fails within a compressed message, the peer has not
// broken the protocol.
func TestInflateCutOff(t *testing.T) {
	for _, frames := range []string{
		string(masked(fin|compressed|Text, deflated(strings.Repeat("hello ", 100))))[:15],
		string(masked(compressed|Text, deflated(strings.Repeat("hello ", 100)))),
	} {
		conn := &scriptConn{input: []byte(frames), step: 3}
		c := acceptOffering(t, conn, "permessage-deflate", Options{Queue: fixed(1000), Compress: true})
		if _, _, err := c.Read(atMost(10_000)); err == nil || Violation(err) {
			t.Errorf("Read: %v", err)
		}
		end(c)
	}
}

// TestBombMemory: a small message that inflates to a huge one takes no memory for that.
func TestBombMemory(t *testing.T) {
	const limit = 100_000
	zeros := strings.Repeat(deflated(strings.Repeat("\x00", 1<<20))+"\x00\x00\xff\xff", 50) // in about 51 kB, which the limit permits
	conn := &scriptConn{input: masked(fin|compressed|Binary, zeros), step: 4096}
	c := acceptOffering(t, conn, "permessage-deflate", Options{Queue: fixed(1000), Compress: true})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := c.Read(atMost(limit))
	runtime.ReadMemStats(&after)
	if !errors.Is(err, errTooBig) {
		t.Errorf("Read: %v", err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 10*limit {
		t.Errorf("%d bytes were allocated to refuse a message that may have %d", took, limit)
	}
	end(c)
}

// FuzzInflate sends anything as a compressed message, in two fragments.
func FuzzInflate(f *testing.F) {
	for _, sample := range []string{"", "\x00", deflated("hello"), final("hello"), deflated(strings.Repeat("x", 10_000)), "\xff\xff\xff", "\x4a\x05\x33\x00", deflated("a\xff")} {
		f.Add([]byte(sample), uint8(len(sample)/2))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut uint8) {
		const limit = 500
		at := min(int(cut), len(data))
		input := append(masked(compressed|Text, string(data[:at])), masked(fin|continuation, string(data[at:]))...)
		conn := &scriptConn{input: append(input, masked(fin|closing, "")...), step: 50}
		c := acceptOffering(t, conn, "permessage-deflate", Options{Queue: fixed(1000), Compress: true})
		switch _, payload, err := c.Read(atMost(limit)); {
		case err == nil:
			if len(payload) > limit || !utf8.Valid(payload) {
				t.Fatalf("read %q", payload)
			}
		case !Violation(err):
			t.Fatalf("%v is no breach of the protocol", err)
		}
		flushed(c)
		end(c)
	})
}

// FuzzDeflate: every payload is the same once inflated, and has no more bytes deflated.
func FuzzDeflate(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("hello hello hello hello hello hello"))
	f.Add(bytes.Repeat([]byte{0}, 70_000))
	f.Fuzz(func(t *testing.T, payload []byte) {
		frame := Frame(Binary, payload)
		got := Deflate(frame)
		switch {
		case len(got) > len(frame):
			t.Fatalf("%d bytes became %d", len(frame), len(got))
		case got[0]&compressed == 0:
			if !bytes.Equal(got, frame) {
				t.Fatal("changed, and not compressed")
			}
		case inflate(t, payloadOf(got)) != string(payload):
			t.Fatal("another payload came back")
		}
	})
}

// TestDeflatingIdle: an idle connection that has negotiated and used compression takes no
// more memory than one that has not.
func TestDeflatingIdle(t *testing.T) {
	const count = 100
	text := strings.Repeat("hello ", 1000)
	message := masked(fin|compressed|Text, deflated(text))
	plain := masked(fin|Text, text)
	perConnection := func(offer string, message []byte) int64 {
		idle := make(chan struct{}, count)
		address := listenWith(t, Options{Queue: fixed(1000), Compress: true}, func(c *Conn) {
			defer end(c)
			for {
				if _, _, err := c.Read(atMost(10_000)); err != nil {
					return
				}
				_ = c.Send(Deflate(Frame(Text, []byte("thanks"))))
				idle <- struct{}{}
			}
		})
		before := memoryInUse()
		for range count {
			p := dialRawOffering(t, address, offer)
			p.send(t, message)
			within(t, "a message", idle)
		}
		return (memoryInUse() - before) / count
	}
	without := perConnection("", plain)
	with := perConnection("permessage-deflate", message)
	t.Logf("an idle connection holds %d bytes, both its ends and the test's included; %d if it has negotiated compression", without, with)
	if with-without > 8000 { // what inflates takes 40 kB; with the race detector, a stack may stay larger
		t.Errorf("an idle connection that has negotiated compression holds %d bytes, another %d", with, without)
	}
}

// memoryInUse returns how much memory is in use, with stacks and without pools.
func memoryInUse() int64 {
	var m runtime.MemStats
	for range 8 { // the second empties pools, and each halves stacks
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func BenchmarkDeflate(b *testing.B) {
	for _, size := range []int{1 << 10, 10 << 10, 100 << 10, 1 << 20} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			var text bytes.Buffer
			for i := 0; text.Len() < size; i++ {
				fmt.Fprintf(&text, `{"id":%d,"sku":"A-%06d","price":%d.%02d,"at":"2026-01-%02dT10:%02d:00Z"},`, 1000+i, i*7919%1_000_000, i*31%1000, i*7%100, 1+i%28, i%60)
			}
			frame := Frame(Text, text.Bytes()[:size])
			b.SetBytes(int64(size))
			b.ReportAllocs()
			var got []byte
			for b.Loop() {
				got = Deflate(frame)
			}
			b.ReportMetric(100*float64(len(got))/float64(len(frame)), "%")
		})
	}
}
