package engineio_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
)

// The tests here run over TCP, where writes do not wait for their reader. Tests that can
// be written step by step are in testdata/scenarios.

// patience is how long a test waits for something that must happen, on any machine.
const patience = time.Minute

// funcs is a receiver made of functions.
type funcs struct {
	receive func(engineio.Packet)
	closed  func(reason string)
}

func (f funcs) Receive(p engineio.Packet, _ *engineio.Batch) {
	if f.receive != nil {
		f.receive(p)
	}
}

func (f funcs) Closed(reason string) {
	if f.closed != nil {
		f.closed(reason)
	}
}

// serve returns a running server and its address.
func serve(t *testing.T, accept func(*engineio.Session) engineio.Receiver) (*engineio.Server, string) {
	t.Helper()
	o := withoutPings(engineio.Options{}).WithDefaults()
	return serveWith(t, func() *engineio.Options { return o }, accept)
}

// withoutPings returns options for tests that must not see pings, on a machine however
// slow.
func withoutPings(o engineio.Options) engineio.Options {
	o.PingInterval, o.UpgradeTimeout = time.Hour, time.Hour
	return o
}

func serveWith(t *testing.T, options func() *engineio.Options, accept func(*engineio.Session) engineio.Receiver) (*engineio.Server, string) {
	t.Helper()
	server := engineio.NewServer(options, accept)
	listener := httptest.NewServer(server)
	t.Cleanup(func() {
		listener.CloseClientConnections()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := server.Close(ctx, 0); err != nil {
			t.Errorf("closing: %v", err)
		}
		listener.Close()
	})
	return server, listener.Listener.Addr().String()
}

func acceptAny(*engineio.Session) engineio.Receiver { return funcs{} }

func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.TCPConn)
}

// request is a request as it is on the wire; lines are further headers.
func request(method, query string, lines ...string) string {
	head := []string{method + " /socket.io/?" + query + " HTTP/1.1", "Host: example.com"}
	return strings.Join(slices.Concat(head, lines, []string{"", ""}), "\r\n")
}

var upgrade = []string{
	"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
}

const (
	polling   = "EIO=4&transport=polling"
	webSocket = "EIO=4&transport=websocket"
)

// An answer is the part of an http.Response that tests look at.
type answer struct {
	status int
	header http.Header
	body   string
}

// exchange sends bytes and returns the answer to them.
func exchange(t *testing.T, address, text string) answer {
	t.Helper()
	conn := dial(t, address)
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header}
	if a.status != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		a.body = string(body)
	}
	_ = response.Body.Close()
	return a
}

// open opens a session over polling and returns its query.
func open(t *testing.T, address string) (query string) {
	t.Helper()
	a := exchange(t, address, request(http.MethodGet, polling))
	_, rest, _ := strings.Cut(a.body, `"sid":"`)
	sid, _, found := strings.Cut(rest, `"`)
	if !found {
		t.Fatalf("no session: %+v", a)
	}
	return "&sid=" + sid
}

// alive checks that the server still takes sessions.
func alive(t *testing.T, address string) {
	t.Helper()
	open(t, address)
}

// TestOddUpgrades: WebSocket requests that clients send, and that some servers do not survive.
func TestOddUpgrades(t *testing.T) {
	_, address := serve(t, acceptAny)
	for name, test := range map[string]struct {
		lines  []string // an empty one ends the headers
		status int
	}{
		"as it should be":       {upgrade, 101},
		"a body":                {append(upgrade, "Content-Length: 3", "", "4hi"), 400},
		"a chunked body":        {append(upgrade, "Transfer-Encoding: chunked", "", "0"), 400},
		"no key":                {upgrade[:3], 400},
		"a short key":           {append(upgrade[:3:3], "Sec-WebSocket-Key: x"), 400},
		"another version":       {append(upgrade[:2:2], "Sec-WebSocket-Version: 8", upgrade[3]), 400},
		"prototype extension":   {append(upgrade, "Sec-WebSocket-Extensions: constructor"), 101},              // GHSA-5v72-xg48-5rpm
		"long protocol":         {append(upgrade, "Sec-WebSocket-Protocol: a"+strings.Repeat(" ", 9e5)), 101}, // CVE-2021-32640
		"many headers":          {append(upgrade, strings.Repeat("X: y\r\n", 2000)+"X: y"), 101},              // CVE-2024-37890
		"compression asked for": {append(upgrade, "Sec-WebSocket-Extensions: permessage-deflate"), 101},
	} {
		t.Run(name, func(t *testing.T) {
			a := exchange(t, address, request(http.MethodGet, webSocket, test.lines...)) // or it takes too long
			if a.status != test.status {
				t.Errorf("status %d: %s", a.status, a.body)
			}
			if extensions := a.header.Get("Sec-WebSocket-Extensions"); extensions != "" {
				t.Errorf("agreed to %s", extensions)
			}
		})
	}
	alive(t, address)
}

// TestGluedFrame: a bad frame in one segment with the handshake (CVE-2022-21676) is either
// refused with it, or ends the session.
func TestGluedFrame(t *testing.T) {
	_, address := serve(t, acceptAny)
	for _, frame := range []string{"\x81\x014", "\xff\xff\xff\xff", "\x81\x82\x00\x00\x00\x002x", "\x88\x80\x00\x00\x00\x00"} {
		conn := dial(t, address)
		if _, err := io.WriteString(conn, request(http.MethodGet, webSocket, upgrade...)+frame); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%q: is not closed: %v", frame, err)
		}
	}
	alive(t, address)
}

// TestResets: clients that go away during a handshake (CVE-2022-41940).
func TestResets(t *testing.T) {
	server, address := serve(t, acceptAny)
	query := open(t, address)
	var all sync.WaitGroup
	for i := range 200 {
		text := request(http.MethodGet, webSocket, upgrade...)
		switch i % 4 {
		case 1:
			text = text[:len(text)-i%50]
		case 2:
			text = request(http.MethodGet, webSocket+query, upgrade...)
		case 3:
			text = request(http.MethodGet, polling)
		}
		conn := dial(t, address)
		_ = conn.SetLinger(0) // closing it is a reset
		all.Go(func() {
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		})
	}
	all.Wait()
	alive(t, address)
	within(t, "WebSocket sessions that are gone to be forgotten", func() bool {
		counts := make(map[string]int)
		server.CountTransports(counts)
		return counts["websocket"] == 0
	})
}

func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) { // nobody tells when a connection is forgotten
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// TestHandshake: a session remembers what it must of the request that opened it, and no
// more.
func TestHandshake(t *testing.T) {
	sessions := make(chan *engineio.Session, 1)
	_, address := serve(t, func(s *engineio.Session) engineio.Receiver {
		sessions <- s
		return funcs{}
	})
	begun := time.Now()
	exchange(t, address, request(http.MethodGet, polling+"&token=x",
		"Cookie: a=1", "Cookie: b=2", "Authorization: Bearer x", "User-Agent: test", "X-Secret: y", "Origin: http://example.com"))
	h := (<-sessions).Handshake()
	if h.ClientIP != "127.0.0.1" || h.Path != "/socket.io/" || h.RawQuery != polling+"&token=x" || h.Secure ||
		h.Origin != "http://example.com" || h.Time.Before(begun) || h.Time.After(time.Now()) {
		t.Errorf("got %+v", h)
	}
	want := http.Header{"Cookie": {"a=1", "b=2"}, "Authorization": {"Bearer x"}, "User-Agent": {"test"}}
	if got := h.Header(); !reflect.DeepEqual(got, want) {
		t.Errorf("headers are %v; want %v", got, want)
	}
}

// TestChunks: a POST may come in pieces that are cut within a character.
func TestChunks(t *testing.T) {
	received := make(chan string, 1)
	_, address := serve(t, func(*engineio.Session) engineio.Receiver {
		return funcs{receive: func(p engineio.Packet) { received <- string(p.Data) }}
	})
	const text = "4h€llo 🌍"
	var chunked strings.Builder
	for _, b := range []byte(text) {
		fmt.Fprintf(&chunked, "1\r\n%s\r\n", []byte{b})
	}
	a := exchange(t, address,
		request(http.MethodPost, polling+open(t, address), "Transfer-Encoding: chunked")+chunked.String()+"0\r\n\r\n")
	if a.status != http.StatusOK || a.body != "ok" {
		t.Errorf("status %d: %s", a.status, a.body)
	}
	if got := <-received; got != text[1:] {
		t.Errorf("received %q", got)
	}
}

// TestManyPackets: the time for as many packets as a POST can have (CVE-2020-36048) grows
// with their number only.
func TestManyPackets(t *testing.T) {
	const n = connection.DefaultMaxPayload / 2
	received, all := 0, make(chan struct{})
	_, address := serve(t, func(*engineio.Session) engineio.Receiver {
		return funcs{receive: func(engineio.Packet) {
			if received++; received == n {
				close(all)
			}
		}}
	})
	payload := strings.Repeat("4\x1e", n-1) + "4"
	a := exchange(t, address,
		request(http.MethodPost, polling+open(t, address), "Content-Length: "+strconv.Itoa(len(payload)))+payload)
	if a.body != "ok" {
		t.Errorf("status %d %s", a.status, a.body)
	}
	<-all
}

// TestOneAtATime: however a session ends, its receiver is told after the current call has
// returned, and nothing is called after that.
func TestOneAtATime(t *testing.T) {
	received, resume, closed := make(chan string, 9), make(chan struct{}), make(chan string, 1)
	_, address := serve(t, func(*engineio.Session) engineio.Receiver {
		return funcs{
			receive: func(p engineio.Packet) {
				received <- string(p.Data)
				<-resume
			},
			closed: func(reason string) { closed <- reason },
		}
	})
	query := open(t, address)
	post := func(length int, body string) int {
		return exchange(t, address, request(http.MethodPost, polling+query, "Content-Length: "+strconv.Itoa(length))+body).status
	}
	if status := post(9, "4one\x1e4two"); status != http.StatusOK {
		t.Errorf("POST: status %d", status)
	}
	if got := <-received; got != "one" {
		t.Errorf("received %q", got)
	}
	if status := post(6, "4three"); status != http.StatusOK {
		t.Errorf("second POST: status %d", status)
	}
	if status := post(connection.DefaultMaxPayload+1, ""); status != http.StatusRequestEntityTooLarge {
		t.Errorf("third POST: status %d", status)
	}
	select {
	case reason := <-closed:
		t.Errorf("closed for %q meanwhile", reason)
	case <-time.After(10 * time.Millisecond): // nothing to wait for
	}
	close(resume)
	if reason := <-closed; reason != "transport error" {
		t.Errorf("closed for %q", reason)
	}
	if len(received) > 0 {
		t.Errorf("received %q after it had ended", <-received)
	}
}

// TestInbox: what a client sends while its messages wait is taken up to a bound. Then the
// client is held back until there is room, or until the session ends.
func TestInbox(t *testing.T) {
	for name, end := range map[string]bool{"there is room again": false, "the session ends": true} {
		t.Run(name, func(t *testing.T) {
			received, resume := make(chan string, 9), make(chan struct{})
			sessions := make(chan *engineio.Session, 1)
			_, address := serve(t, func(s *engineio.Session) engineio.Receiver {
				sessions <- s
				return funcs{receive: func(p engineio.Packet) {
					received <- string(p.Data[:1])
					<-resume
				}}
			})
			query := open(t, address)
			post := func(text string, length int) int {
				body := "4" + text + strings.Repeat(" ", length-1-len(text))
				return exchange(t, address, request(http.MethodPost, polling+query, "Content-Length: "+strconv.Itoa(length))+body).status
			}
			if first, second := post("a", 500_000), post("b", 60_000); first != http.StatusOK || second != http.StatusOK {
				t.Fatalf("status %d and %d", first, second)
			}
			held := make(chan int, 1)
			go func() { held <- post("c", 6_000) }()
			select {
			case status := <-held:
				t.Errorf("status %d, although there is no room", status)
			case <-time.After(50 * time.Millisecond): // nothing to wait for
			}
			if end {
				(<-sessions).Close("forced close")
			} else {
				close(resume)
			}
			if status := <-held; status != http.StatusOK {
				t.Errorf("status %d", status)
			}
			if end {
				close(resume)
				return
			}
			if got := <-received + <-received + <-received; got != "abc" {
				t.Errorf("received %s", got)
			}
		})
	}
}

// TestOrder: many clients move to WebSocket while both sides send as fast as they can.
// Nothing is lost, doubled or overtaken.
func TestOrder(t *testing.T) {
	const clients, messages = 30, 200
	var all sync.WaitGroup
	send := func(s *engineio.Session) {
		for i := range messages {
			if err := s.Send(engineio.NewPacketGroup(engineio.Packet{Type: engineio.Message, Data: []byte(strconv.Itoa(i))})); err != nil {
				t.Errorf("message %d to a client: %v", i, err)
				return
			}
		}
	}
	server, address := serve(t, func(s *engineio.Session) engineio.Receiver {
		next := 0
		all.Add(1)
		return funcs{
			receive: func(p engineio.Packet) {
				if next == 0 {
					all.Go(func() { send(s) })
				}
				if want := strconv.Itoa(next); string(p.Data) != want {
					t.Errorf("from a client: %s instead of %s", p.Data, want)
				}
				if next++; next == messages {
					all.Done()
				}
			},
			closed: func(reason string) {
				if next != messages {
					t.Errorf("from a client: %d messages, then %s", next, reason)
					all.Done()
				}
			},
		}
	})
	for i := range clients {
		all.Go(func() { newUpgrader(t, address).run(messages, 5+5*(i%20)) })
	}
	all.Wait()
	if n := server.Len(); n != clients {
		t.Errorf("%d sessions are open", n)
	}
}

// An upgrader is a client that moves from polling to WebSocket, as Socket.IO's own client
// does: https://socket.io/docs/v4/engine-io-protocol/#upgrade
type upgrader struct {
	t        *testing.T
	address  string
	query    string
	received int
}

func newUpgrader(t *testing.T, address string) *upgrader {
	return &upgrader{t: t, address: address, query: open(t, address)}
}

// run sends messages and expects as many. After the first, it moves.
func (c *upgrader) run(messages, first int) {
	var posts, polls sync.WaitGroup
	pause := make(chan struct{})
	posts.Go(func() {
		for i := range first {
			c.http(http.MethodPost, "4"+strconv.Itoa(i))
		}
	})
	polls.Go(func() {
		for {
			for packet := range strings.SplitSeq(c.http(http.MethodGet, ""), "\x1e") {
				c.take(packet)
			}
			select {
			case <-pause:
				return
			default:
			}
		}
	})

	ws, _, err := websocket.DefaultDialer.Dial("ws://"+c.address+"/socket.io/?"+webSocket+c.query, nil)
	if err != nil {
		c.t.Error(err)
		return
	}
	c.t.Cleanup(func() { _ = ws.Close() })
	c.write(ws, "2probe")
	if answer := c.read(ws); answer != "3probe" {
		c.t.Errorf("the probe is answered with %q", answer)
	}
	posts.Wait()
	close(pause)
	polls.Wait()
	c.write(ws, "5")
	for i := first; i < messages; i++ {
		c.write(ws, "4"+strconv.Itoa(i))
	}
	for c.received < messages && !c.t.Failed() {
		c.take(c.read(ws))
	}
}

func (c *upgrader) take(packet string) {
	switch {
	case packet == "6":
	case packet == "4"+strconv.Itoa(c.received):
		c.received++
	default:
		c.t.Errorf("to a client: %q instead of %d", packet, c.received)
	}
}

func (c *upgrader) http(method, body string) string {
	r, err := http.NewRequest(method, "http://"+c.address+"/socket.io/?"+polling+c.query, strings.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return ""
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Error(err)
		return ""
	}
	answer, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || response.StatusCode != http.StatusOK {
		c.t.Errorf("%s: status %d, %v", method, response.StatusCode, err)
	}
	return string(answer)
}

func (c *upgrader) write(ws *websocket.Conn, packet string) {
	if err := ws.WriteMessage(websocket.TextMessage, []byte(packet)); err != nil {
		c.t.Error(err)
	}
}

func (c *upgrader) read(ws *websocket.Conn) string {
	_ = ws.SetReadDeadline(time.Now().Add(patience))
	_, data, err := ws.ReadMessage()
	if err != nil {
		c.t.Error(err)
	}
	return string(data)
}

// TestDeclaredBody: a body whose Content-Length is too large is refused before any of it
// has come, and nothing of it is read.
func TestDeclaredBody(t *testing.T) {
	why := make(chan string, 1)
	_, address := serve(t, func(*engineio.Session) engineio.Receiver {
		return funcs{closed: func(reason string) { why <- reason }}
	})
	query := open(t, address)
	conn := dial(t, address)
	fmt.Fprintf(conn, "POST /socket.io/?%s%s HTTP/1.1\r\nHost: x\r\nContent-Length: 200000000\r\n\r\n", polling, query)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("the answer is %s", response.Status)
	}
	if got := <-why; got != "transport error" {
		t.Errorf("the session ended with %q", got)
	}
}

// TestBodyInManyChunks: a body takes no more memory if it comes in many chunks.
func TestBodyInManyChunks(t *testing.T) {
	const chunks = 50_000
	got := make(chan int, 1)
	_, address := serve(t, func(*engineio.Session) engineio.Receiver {
		return funcs{receive: func(p engineio.Packet) { got <- len(p.Data) }}
	})
	query := open(t, address)
	conn := dial(t, address)
	begin := fmt.Sprintf("POST /socket.io/?%s%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n4\r\n", polling, query)
	if _, err := io.WriteString(conn, begin+strings.Repeat("1\r\nx\r\n", chunks)+"0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the answer is %s", response.Status)
	}
	if n := <-got; n != chunks {
		t.Errorf("of %d bytes %d arrived", chunks, n)
	}
}
