package test

import (
	"compress/gzip"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	"github.com/klauspost/compress/zstd"
)

// compressionSite is a site that compresses wherever it can.
func compressionSite(more string) string {
	return strings.Replace(application, "realtime {", "realtime {\n"+more, 1)
}

func TestCompression(t *testing.T) {
	t.Parallel()
	on, off := harness.Config{Site: compressionSite("compression on")}, harness.Config{Site: compressionSite("compression off")}
	s := harness.Start(t, harness.WithGuests, on)
	n := s.StartNode(t, "compression.mjs")
	for _, next := range []harness.Config{off, on} {
		n.Expect("reload", nil)
		s.MustReload(next)
		n.Tell("reloaded")
	}
	n.Expect("finished", nil)
	n.Finish()
	s.WaitHealth("empty", func(h harness.Health) bool { return h.WebSocket.Connections == 0 && h.Sockets == 0 })
}

// A countingProxy is a TCP proxy that counts bytes.
type countingProxy struct {
	net.Listener
	to        string
	up, down  atomic.Int64
	transfers sync.WaitGroup
}

func startCountingProxy(t *testing.T, to string) *countingProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &countingProxy{Listener: listener, to: to}
	c.transfers.Go(c.serve)
	t.Cleanup(func() {
		c.Close()
		c.transfers.Wait()
	})
	return c
}

func (c *countingProxy) serve() {
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
		c.transfers.Go(func() { copyCounting(far, near, &c.up) })
		c.transfers.Go(func() { copyCounting(near, far, &c.down) })
	}
}

// copyCounting copies until from ends, and closes both connections.
func copyCounting(to, from net.Conn, count *atomic.Int64) {
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

// TestCompressionInBrowser checks that a browser compresses what it sends and accepts
// compressed messages.
func TestCompressionInBrowser(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.WithGuests, harness.Config{Site: `realtime {
		websocket /ws
		compression on
		authenticator token
		handler echo
	}
	header Content-Type text/html
	respond "<!doctype html><title>A page</title>"`})
	proxy := startCountingProxy(t, s.Address())
	n := s.StartNode(t, "compression-browser.mjs", "PROXY", "http://"+proxy.Addr().String()+"/")
	for range 3 {
		var transport string
		var size int64
		n.Expect("connected", &transport)
		up, down := proxy.up.Load(), proxy.down.Load()
		n.Tell("counting")
		n.Expect("counted", &size)
		up, down = proxy.up.Load()-up, proxy.down.Load()-down
		t.Logf("%s: %d bytes up and %d down for %d", transport, up, down, size)
		if down > size/5 || up > size/5 && transport != "polling" {
			t.Errorf("%s: %d bytes up and %d down for %d", transport, up, down, size)
		}
		n.Tell("next")
	}
	n.Expect("finished", nil)
	n.Finish()
}

// TestCompressionBehindEncode has Caddy's own compression in front. Nothing is
// compressed twice, and Caddy may compress what this module does not.
func TestCompressionBehindEncode(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("hello ", 1000)
	for _, outer := range []string{"", "encode gzip zstd"} {
		for _, inner := range []string{"", "compression on", "compression on 100KB"} {
			s := harness.Start(t, harness.WithGuests, harness.Config{Site: outer + "\n" + compressionSite(inner)})
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
				session := s.OpenSession(t)
				session.Connect()
				session.MustPost(`42["message","` + large + `"]`)
				var header []string
				if test.accept != "" {
					header = []string{"Accept-Encoding", test.accept}
				}
				a := s.Request(t, "GET", session.Path(), "", header...)
				got := a.Header.Get("Content-Encoding")
				if want == "gzip" && !ours {
					want = got // the outer handler has its own preference
				}
				if got != want || len(a.Header.Values("Content-Encoding")) > 1 {
					t.Errorf("%s, %s: asked for %q, got %q", outer, inner, test.accept, a.Header.Values("Content-Encoding"))
				}
				if text := decoded(t, a); text != `42["message-back","`+large+`"]` {
					t.Errorf("%s, %s: asked for %q, got %.100q", outer, inner, test.accept, text)
				}
				if length := a.Header.Get("Content-Length"); length != "" && length != strconv.Itoa(len(a.Body)) {
					t.Errorf("%s, %s: asked for %q, the length of %d bytes is %s", outer, inner, test.accept, len(a.Body), length)
				}
				vary := strings.Join(a.Header.Values("Vary"), ", ")
				if !strings.Contains(vary, "Origin") || got != "" && strings.Count(vary, "Accept-Encoding") != 1 {
					t.Errorf("%s, %s: asked for %q, varies by %q", outer, inner, test.accept, vary)
				}
			}
		}
	}
}

// decoded returns the body before its one compression.
func decoded(t *testing.T, a harness.Answer) string {
	t.Helper()
	var r io.Reader = strings.NewReader(a.Body)
	var err error
	switch a.Header.Get("Content-Encoding") {
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
