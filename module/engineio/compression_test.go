package engineio_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/origin"
)

// A testServer is a server whose settings change, with its sessions.
type testServer struct {
	address  string
	options  atomic.Pointer[engineio.Options]
	sessions chan *engineio.Session
}

func newTestServer(t *testing.T, o engineio.Options) *testServer {
	t.Helper()
	s := &testServer{sessions: make(chan *engineio.Session, 100)}
	s.options.Store(withoutPings(o).WithDefaults())
	_, s.address = serveWith(t, s.options.Load, func(session *engineio.Session) engineio.Receiver {
		s.sessions <- session
		return funcs{}
	})
	return s
}

func (s *testServer) compressFrom(size int) {
	o := *s.options.Load()
	o.CompressFrom = size
	s.options.Store(&o)
}

// A rawClient is a WebSocket that shows frames as they are.
type rawClient struct {
	net.Conn
	t      *testing.T
	reader *bufio.Reader
}

// connect opens a WebSocket of Engine.IO and reads the first packet. With a session id in
// the query there is none, and the session returned is nil.
func (s *testServer) connect(t *testing.T, query, offer string) (*rawClient, *engineio.Session) {
	t.Helper()
	v := &rawClient{Conn: dial(t, s.address), t: t}
	v.reader = bufio.NewReader(v.Conn)
	lines := append([]string{}, upgrade...)
	if offer != "" {
		lines = append(lines, "Sec-WebSocket-Extensions: "+offer)
	}
	if _, err := io.WriteString(v, request("GET", query, lines...)); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(v.reader, nil)
	if err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(r, err)
	}
	if strings.Contains(query, "sid") {
		return v, nil
	}
	if first, _ := v.read(); !strings.HasPrefix(first, "text 0{") {
		t.Fatalf("the first packet is %q", first)
	}
	return v, <-s.sessions
}

// read returns the next frame, and whether it was compressed.
func (v *rawClient) read() (frame string, compressed bool) {
	v.t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(v.reader, head); err != nil {
		v.t.Fatal(err)
	}
	size := int(head[1])
	switch size {
	case 126:
		var length uint16
		_ = binary.Read(v.reader, binary.BigEndian, &length)
		size = int(length)
	case 127:
		var length uint64
		_ = binary.Read(v.reader, binary.BigEndian, &length)
		size = int(length)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(v.reader, payload); err != nil {
		v.t.Fatal(err)
	}
	if compressed = head[0]&0x40 != 0; compressed {
		tail := strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")
		var err error
		if payload, err = io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(payload), tail))); err != nil {
			v.t.Fatal(err)
		}
	}
	kind := map[byte]string{1: "text", 2: "binary"}[head[0]&0xf]
	return kind + " " + string(payload), compressed
}

// text sends a short text frame whose mask is zero.
func (v *rawClient) text(text string) {
	v.t.Helper()
	if _, err := v.Write(append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)); err != nil {
		v.t.Fatal(err)
	}
}

func message(text string) engineio.Packet {
	return engineio.Packet{Type: engineio.Message, Data: []byte(text)}
}

// TestDeflate sends one packet group to sessions that have negotiated compression and to
// others, while the settings change.
func TestDeflate(t *testing.T) {
	const offer = "permessage-deflate; client_max_window_bits"
	s := newTestServer(t, engineio.Options{Options: connection.Options{CompressFrom: 100}})
	plain, plainSession := s.connect(t, webSocket, "")
	deflating, deflatingSession := s.connect(t, webSocket, offer)
	other, otherSession := s.connect(t, webSocket, "permessage-deflate; server_max_window_bits=10")

	large, small := strings.Repeat("large ", 100), strings.Repeat("small ", 10)
	group := func() *engineio.PacketGroup {
		return engineio.NewPacketGroup(message(large), engineio.Packet{Type: engineio.Message, Binary: true, Data: []byte(small)},
			engineio.Packet{Type: engineio.Message, Binary: true, Data: []byte(large)}, message(small))
	}
	check := func(when string, v *rawClient, compressed bool) {
		t.Helper()
		for i, want := range []string{"text 4" + large, "binary " + small, "binary " + large, "text 4" + small} {
			frame, got := v.read()
			if frame != want || got != (compressed && i%2 == 0) {
				t.Errorf("%s: got %q, compressed %v; want %q", when, frame, got, want)
			}
		}
	}
	for _, step := range []struct {
		when       string
		from       int
		compressed bool
	}{
		{"on", 100, true},
		{"on from the very size", 600, true},
		{"on from another size", 602, false},
		{"off", 0, false},
		{"on again", 100, true},
	} {
		s.compressFrom(step.from)
		b := group()
		for _, session := range []*engineio.Session{plainSession, deflatingSession, otherSession} {
			if err := session.Send(b); err != nil {
				t.Fatal(err)
			}
		}
		check(step.when+", not negotiated", plain, false)
		check(step.when+", negotiated", deflating, step.compressed)
		check(step.when+", declined", other, false)
	}

	// A client that connects while compression is off never gets it.
	s.compressFrom(0)
	late, lateSession := s.connect(t, webSocket, offer)
	s.compressFrom(100)
	if err := lateSession.Send(group()); err != nil {
		t.Fatal(err)
	}
	check("came while it was off", late, false)
}

// TestDeflateUpgraded: a session that moves to a WebSocket gets what the WebSocket has
// negotiated.
func TestDeflateUpgraded(t *testing.T) {
	s := newTestServer(t, engineio.Options{Options: connection.Options{CompressFrom: 100}})
	query := open(t, s.address)
	session := <-s.sessions
	v, _ := s.connect(t, webSocket+query, "permessage-deflate")
	v.text("2probe")
	if got, _ := v.read(); got != "text 3probe" {
		t.Fatalf("got %q", got)
	}
	large := strings.Repeat("large ", 100)
	if err := session.Send(engineio.NewPacketGroup(message(large + "waiting"))); err != nil {
		t.Fatal(err)
	}
	v.text("5")
	if got, _ := v.read(); got != "text 4"+large+"waiting" {
		t.Errorf("got %q", got)
	}
	if err := session.Send(engineio.NewPacketGroup(message(large))); err != nil {
		t.Fatal(err)
	}
	if got, compressed := v.read(); got != "text 4"+large || !compressed {
		t.Errorf("got %q, compressed %v", got, compressed)
	}
}

// TestCompression3: clients of Engine.IO 3 get what they have negotiated, too.
func TestCompression3(t *testing.T) {
	s := newTestServer(t, engineio.Options{Options: connection.Options{CompressFrom: 100}, EIO3: true})
	large := strings.Repeat("large ", 100)
	v, session := s.connect(t, "EIO=3&transport=websocket", "permessage-deflate")
	for _, packet := range []engineio.Packet{message(large), {Type: engineio.Message, Binary: true, Data: []byte(large)}} {
		if err := session.Send(engineio.NewPacketGroup(packet)); err != nil {
			t.Fatal(err)
		}
		want := "text 4" + large
		if packet.Binary {
			want = "binary \x04" + large
		}
		if got, compressed := v.read(); got != want || !compressed {
			t.Errorf("got %q, compressed %v", got, compressed)
		}
	}

	const polling3 = "EIO=3&transport=polling"
	_, id, _ := strings.Cut(exchange(t, s.address, request("GET", polling3)).body, `"sid":"`)
	id, _, _ = strings.Cut(id, `"`)
	if err := (<-s.sessions).Send(engineio.NewPacketGroup(message(large))); err != nil {
		t.Fatal(err)
	}
	a := exchange(t, s.address, request("GET", polling3+"&sid="+id, "Accept-Encoding: gzip"))
	r, err := gzip.NewReader(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err, a)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "601:4"+large {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestGzip: which clients get an answer to polling compressed.
func TestGzip(t *testing.T) {
	policy, err := origin.New("https://app.example.com")
	if err != nil {
		t.Fatal(err)
	}
	s := newTestServer(t, engineio.Options{Options: connection.Options{Origins: policy}})
	query := open(t, s.address)
	session := <-s.sessions
	text := strings.Repeat("hello ", 1023/6+1)[:1023] // and its type
	tests := []struct {
		name    string
		accept  []string
		packets []string
		from    int
		gzip    bool
		vary    bool
	}{
		{"gzip", []string{"gzip"}, []string{text}, 0, true, true},
		{"a browser", []string{"gzip, deflate, br, zstd"}, []string{text}, 0, true, true},
		{"several packets", []string{"gzip"}, []string{text[:500], text[:522]}, 0, true, true},
		{"not enough", []string{"gzip"}, []string{text[:1022]}, 0, false, false},
		{"enough for the settings", []string{"gzip"}, []string{text[:99]}, 100, true, true},
		{"not enough for the settings", []string{"gzip"}, []string{text}, 2000, false, false},
		{"nothing said", nil, []string{text}, 0, false, true},
		{"an empty header", []string{""}, []string{text}, 0, false, true},
		{"other encodings", []string{"br, zstd, deflate, x-gzipped"}, []string{text}, 0, false, true},
		{"gzip refused", []string{"gzip;q=0, *"}, []string{text}, 0, false, true},
		{"gzip refused with digits", []string{"deflate, gzip; q=0.000"}, []string{text}, 0, false, true},
		{"a little gzip", []string{"gzip;q=0.001"}, []string{text}, 0, true, true},
		{"anything", []string{"*"}, []string{text}, 0, true, true},
		{"anything but", []string{"identity, *;q=0"}, []string{text}, 0, false, true},
		{"identity", []string{"identity"}, []string{text}, 0, false, true},
		{"identity liked better", []string{"gzip;q=0.5, identity"}, []string{text}, 0, false, true},
		{"identity liked less", []string{"identity;q=0.5, gzip"}, []string{text}, 0, true, true},
		{"two headers", []string{"br", "GZIP ; Q=1"}, []string{text}, 0, true, true},
		{"a weight that is none", []string{"gzip;q=x"}, []string{text}, 0, false, true},
		{"a weight too large", []string{"gzip;q=2"}, []string{text}, 0, false, true},
		{"NaN", []string{"gzip;q=NaN"}, []string{text}, 0, false, true},
		{"another parameter", []string{"gzip;level=9"}, []string{text}, 0, false, true},
	}
	for _, test := range tests {
		s.compressFrom(test.from)
		var want []string
		for _, text := range test.packets {
			if err := session.Send(engineio.NewPacketGroup(message(text))); err != nil {
				t.Fatal(err)
			}
			want = append(want, "4"+text)
		}
		lines := []string{"Origin: https://app.example.com"}
		for _, value := range test.accept {
			lines = append(lines, "Accept-Encoding: "+value)
		}
		a := exchange(t, s.address, request("GET", polling+query, lines...))
		body := a.body
		if got := a.header.Get("Content-Encoding"); test.gzip != (got == "gzip") || !test.gzip && got != "" {
			t.Errorf("%s: the encoding is %q", test.name, got)
		} else if test.gzip {
			r, err := gzip.NewReader(strings.NewReader(body))
			if err != nil {
				t.Fatal(test.name, err)
			}
			plain, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(test.name, err)
			}
			body = string(plain)
		}
		if body != strings.Join(want, "\x1e") {
			t.Errorf("%s: got %q", test.name, body)
		}
		if got := a.header.Get("Content-Length"); got != strconv.Itoa(len(a.body)) {
			t.Errorf("%s: the length of %d bytes is %s", test.name, len(a.body), got)
		}
		if got := strings.Join(a.header.Values("Vary"), ", "); !strings.Contains(got, "Origin") || strings.Contains(got, "Accept-Encoding") != test.vary {
			t.Errorf("%s: varies by %q", test.name, got)
		}
	}
}

// TestGzipShared: a packet group that many clients poll for is compressed once.
func TestGzipShared(t *testing.T) {
	s := newTestServer(t, engineio.Options{})
	group := engineio.NewPacketGroup(message(strings.Repeat("large ", 10_000)))
	var first string
	for i := range 5 {
		query := open(t, s.address)
		if err := (<-s.sessions).Send(group); err != nil {
			t.Fatal(err)
		}
		a := exchange(t, s.address, request("GET", polling+query, "Accept-Encoding: gzip"))
		if i == 0 {
			first = a.body
		}
		if a.header.Get("Content-Encoding") != "gzip" || len(a.body) > 5000 || a.body != first {
			t.Errorf("poller %d got %d bytes, %v", i, len(a.body), a.header)
		}
	}
}
