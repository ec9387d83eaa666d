package test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// compressing is a site with everything that compresses.
func compressing(more string) string {
	return strings.Replace(application, "realtime {", "realtime {\n"+more, 1)
}

func TestCompression(t *testing.T) {
	t.Parallel()
	on, off := config{site: compressing("compression on")}, config{site: compressing("compression off")}
	s := start(t, withGuest, on)
	n := s.startNode(t, "compression.mjs")
	for _, next := range []config{off, on} {
		n.expect("reload", nil)
		s.mustReload(next)
		n.tell("reloaded")
	}
	n.expect("finished", nil)
	n.finish()
	s.waitHealth("empty", func(h health) bool { return h.WebSocket.Connections == 0 && h.Sockets == 0 })
}

// A counter is a TCP proxy that counts what goes through it.
type counter struct {
	net.Listener
	to        string
	up, down  atomic.Int64
	transfers sync.WaitGroup
}

func newCounter(t *testing.T, to string) *counter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{Listener: listener, to: to}
	c.transfers.Go(c.serve)
	t.Cleanup(func() {
		c.Close()
		c.transfers.Wait()
	})
	return c
}

func (c *counter) serve() {
	for {
		near, err := c.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.to)
		if err != nil {
			near.Close()
			continue
		}
		c.transfers.Go(func() { transfer(far, near, &c.up) })
		c.transfers.Go(func() { transfer(near, far, &c.down) })
	}
}

// transfer ends both connections with the one that it reads from.
func transfer(to, from net.Conn, count *atomic.Int64) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		count.Add(int64(n))
		if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
			return
		}
	}
}

// A browser compresses what it sends, and takes compressed what it gets.
func TestCompressionInBrowser(t *testing.T) {
	t.Parallel()
	s := start(t, withGuest, config{site: `realtime {
		websocket /ws
		compression on
		authenticator token
		handler echo
	}
	header Content-Type text/html
	respond "<!doctype html><title>A page</title>"`})
	proxy := newCounter(t, s.address())
	n := s.startNode(t, "compression-browser.mjs", "PROXY", "http://"+proxy.Addr().String()+"/")
	for range 3 {
		var transport string
		var size int64
		n.expect("connected", &transport)
		up, down := proxy.up.Load(), proxy.down.Load()
		n.tell("counting")
		n.expect("counted", &size)
		up, down = proxy.up.Load()-up, proxy.down.Load()-down
		t.Logf("%s: %d bytes up and %d down for %d", transport, up, down, size)
		if down > size/5 || up > size/5 && transport != "polling" {
			t.Errorf("%s: %d bytes up and %d down for %d", transport, up, down, size)
		}
		n.tell("next")
	}
	n.expect("finished", nil)
	n.finish()
}

// Caddy's own compression stands before ours: nothing is compressed twice, and
// what we leave as it is, it may compress.
func TestCompressionBehindEncode(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("hello ", 1000)
	for _, outer := range []string{"", "encode gzip zstd"} {
		for _, inner := range []string{"", "compression on", "compression on 100KB"} {
			s := start(t, withGuest, config{site: outer + "\n" + compressing(inner)})
			for _, test := range []struct{ accept, want string }{
				{"", ""},
				{"identity", ""},
				{"gzip", "gzip"},
				{"gzip, deflate, br, zstd", "gzip"},
				{"zstd", "zstd"},
				{"zstd, gzip;q=0", "zstd"},
			} {
				ours := inner != "compression on 100KB" && test.want == "gzip"
				want := test.want
				if !ours && outer == "" {
					want = ""
				}
				session := s.openSession(t)
				session.connect()
				session.mustPost(`42["message","` + large + `"]`)
				var header []string
				if test.accept != "" {
					header = []string{"Accept-Encoding", test.accept}
				}
				a := s.request(t, "GET", session.path(), "", header...)
				got := a.header.Get("Content-Encoding")
				if want == "gzip" && !ours {
					want = got // the outer handler prefers what it likes
				}
				if got != want || len(a.header.Values("Content-Encoding")) > 1 {
					t.Errorf("%s, %s: asked for %q, got %q", outer, inner, test.accept, a.header.Values("Content-Encoding"))
				}
				if text := decoded(t, a); text != `42["message-back","`+large+`"]` {
					t.Errorf("%s, %s: asked for %q, got %.100q", outer, inner, test.accept, text)
				}
				if length := a.header.Get("Content-Length"); length != "" && length != fmt.Sprint(len(a.body)) {
					t.Errorf("%s, %s: asked for %q, the length of %d bytes is %s", outer, inner, test.accept, len(a.body), length)
				}
				vary := strings.Join(a.header.Values("Vary"), ", ")
				if !strings.Contains(vary, "Origin") || got != "" && strings.Count(vary, "Accept-Encoding") != 1 {
					t.Errorf("%s, %s: asked for %q, varies by %q", outer, inner, test.accept, vary)
				}
			}
		}
	}
}

// decoded returns the body as it was before it was compressed, once.
func decoded(t *testing.T, a answer) string {
	t.Helper()
	var r io.Reader = strings.NewReader(a.body)
	var err error
	switch a.header.Get("Content-Encoding") {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "zstd":
		r, err = zstd.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
