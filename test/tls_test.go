package test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// overHTTPAndTLS runs a test twice: over plain HTTP, and over TLS, which goes
// other ways in the server. Clients trust the authority that the server has
// made for itself, and nobody else.
func overHTTPAndTLS(t *testing.T, test func(t *testing.T, secure bool)) {
	for name, secure := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, secure)
		})
	}
}

func (s *server) url() string {
	if s.trust != nil {
		return "https://" + s.address()
	}
	return "http://" + s.address()
}

// authority is the file with the certificate of the server's own authority.
func (s *server) authority() string { return s.path("data/caddy/pki/authorities/local/root.crt") }

// awaitTLS waits until the server, which serves, has a certificate to do it
// with, and makes clients trust it.
func (s *server) awaitTLS() {
	s.t.Helper()
	s.log.wait(s.t, 0, "certificate obtained successfully")
	root, err := os.ReadFile(s.authority())
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		s.t.Fatalf("this is no certificate: %s", root)
	}
	s.trust = &tls.Config{RootCAs: roots}
	s.http = plainHTTP(s.trust)
	deadline := time.Now().Add(patience)
	for {
		conn, err := s.connect()
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the server does not serve TLS: %v", err)
		}
		time.Sleep(20 * time.Millisecond) // between two attempts; there is no event to wait for
	}
}

// connect opens a connection on which nothing has been said, but for TLS.
func (s *server) connect() (net.Conn, error) {
	if s.trust == nil {
		return net.Dial("tcp", s.address())
	}
	return tls.Dial("tcp", s.address(), s.trust)
}

// tcp returns the connection below one that may be TLS.
func tcp(conn net.Conn) *net.TCPConn {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return conn.(*net.TCPConn)
}

// webSocketURL is that of a path.
func (s *server) webSocketURL(path string) string {
	return strings.Replace(s.url(), "http", "ws", 1) + path
}
