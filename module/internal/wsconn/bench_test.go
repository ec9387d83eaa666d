package wsconn

import (
	"net/http"
	"strings"
	"testing"
)

// An endlessConn is a scriptConn whose script begins anew at its end.
type endlessConn struct {
	scriptConn
	script []byte
}

func (c *endlessConn) Read(p []byte) (int, error) {
	if len(c.input) == 0 {
		c.input = c.script
	}
	return c.scriptConn.Read(p)
}

// BenchmarkRead is what a message of a hundred bytes costs from the input that has it.
func BenchmarkRead(b *testing.B) {
	for name, message := range map[string]string{
		"plain":   string(masked(fin|Text, strings.Repeat("x", 100))),
		"deflate": string(masked(fin|compressed|Text, deflated(strings.Repeat("x", 100)))),
	} {
		b.Run(name, func(b *testing.B) {
			conn := &endlessConn{script: []byte(message)}
			conn.step = len(message)
			r := handshake("permessage-deflate")
			c, err := Upgrade(&hijackable{conn: conn, header: make(http.Header)}, r, Options{Queue: fixed(1000), Compress: name == "deflate"})
			if err != nil {
				b.Fatal(err)
			}
			limit := atMost(1000)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := c.Read(limit); err != nil {
					b.Fatal(err)
				}
			}
			c.Release()
		})
	}
}

// BenchmarkUpgrade is what a connection costs from its handshake to its end.
func BenchmarkUpgrade(b *testing.B) {
	for name, offer := range map[string]string{"plain": "", "deflate": "permessage-deflate; client_max_window_bits"} {
		b.Run(name, func(b *testing.B) {
			r := handshake(offer)
			o := Options{Queue: fixed(1000), Compress: true}
			b.ReportAllocs()
			for b.Loop() {
				c, err := Upgrade(&hijackable{conn: &scriptConn{step: 1}, header: make(http.Header)}, r, o)
				if err != nil {
					b.Fatal(err)
				}
				c.Release()
			}
		})
	}
}

// handshake is a request for a WebSocket with an offer of extensions.
func handshake(offer string) *http.Request {
	r := upgradeRequest()
	if offer != "" {
		r.Header.Set("Sec-WebSocket-Extensions", offer)
	}
	return r
}
