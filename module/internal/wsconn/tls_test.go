package wsconn

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// pipeTLS is pipe over TLS.
func pipeTLS(t testing.TB, queue int) (*Conn, *peer) {
	t.Helper()
	server, client := secure(t)(net.Pipe())
	c := accept(t, server, queue)
	p := &peer{Conn: client, reader: bufio.NewReader(client)}
	if r, err := http.ReadResponse(p.reader, nil); err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(r, err)
	}
	flushed(c)
	return c, p
}

// secure returns what makes TLS connections of the ends of a connection.
func secure(t testing.TB) func(near, far net.Conn) (server, client *tls.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"server"},
		NotBefore:    time.Now(),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	return func(near, far net.Conn) (server, client *tls.Conn) {
		t.Helper()
		server = tls.Server(near, &tls.Config{
			Certificates:           []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
			SessionTicketsDisabled: true,
		})
		client = tls.Client(far, &tls.Config{ServerName: "server", RootCAs: roots})
		shaken := make(chan error)
		go func() { shaken <- client.Handshake() }()
		if err := server.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-shaken; err != nil {
			t.Fatal(err)
		}
		return server, client
	}
}

// TestLastFrameOverTLS: another goroutine writes the last frame. It still arrives before the
// end, which does not come later for it.
func TestLastFrameOverTLS(t *testing.T) {
	words := []frame{{Text, "one"}, {Text, "two"}}
	for name, last := range map[string]struct {
		said  []byte // by the peer
		close string // that answers it
	}{
		"a close":  {masked(fin|closing, closePayload(1000, "")), closePayload(1000, "")},
		"a breach": {[]byte("\x83\x80\x00\x00\x00\x00"), closePayload(1002, "bad opcode 3")},
		"too much": {masked(fin|Text, "more than the server reads"), closePayload(1009, "")},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			c, p := pipeTLS(t, 1000)
			frames := make(chan []frame)
			go func() {
				all := p.rest(t)
				p.Close()
				frames <- all
			}()
			for _, word := range words {
				if err := c.Send(Frame(int(word.opcode), []byte(word.payload))); err != nil {
					t.Error(err)
				}
			}
			go p.send(t, last.said)
			if _, _, err := c.Read(atMost(10)); err == nil {
				t.Errorf("%s: Read returns no error", name)
			}
			end(c)
			if got, want := <-frames, append(slices.Clone(words), frame{closing, last.close}); !slices.Equal(got, want) {
				t.Errorf("%s: the peer got %q, not %q", name, got, want)
			}
			if took := time.Since(start); took > 0 {
				t.Errorf("%s: the end took %v", name, took)
			}
		})
	}
}

// TestSilentOverTLS: a peer that reads nothing, not even the alert that ends TLS.
func TestSilentOverTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c, p := pipeTLS(t, 1000)
		if err := c.Send(Frame(Text, []byte("never read"))); err != nil {
			t.Error(err)
		}
		c.Close(1013, "", true)
		if _, _, err := c.Read(atMost(10)); err == nil {
			t.Error("Read returns no error")
		}
		end(c)
		if took := time.Since(start); took != closeTimeout {
			t.Errorf("the end took %v", took)
		}
		p.Conn.(*tls.Conn).NetConn().Close()
	})
}
