package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"testing"
	"time"
)

// TLSSite returns a site over TLS with a certificate of its own, and its address.
func (s *Server) TLSSite(site string) (text, address string) {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	certificateFile := s.WriteFile("certificate.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})))
	keyFile := s.WriteFile("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		s.t.Fatal(err)
	}
	hash := sha256.Sum256(public)
	s.KeyHash = base64.StdEncoding.EncodeToString(hash[:])
	address = fmt.Sprintf("localhost:%d", FreePort(s.t))
	return fmt.Sprintf("https://%s {\n bind 127.0.0.1 \n tls %s %s \n log \n encode \n %s \n}\n", address, certificateFile, keyFile, site), address
}

// StartWithTLSSite starts a server that serves the same site over plain HTTP and over
// TLS.
func StartWithTLSSite(t *testing.T, global, site string) (s *Server, c Config, address string) {
	t.Helper()
	s = NewServer(t, WithGuests)
	more, address := s.TLSSite(site)
	c = Config{Global: global, Site: site, More: more}
	s.WriteConfig("Caddyfile", c)
	s.Run()
	return s, c, address
}

// OverHTTPAndTLS runs a test twice: over plain HTTP and over TLS. The server handles
// the two by different code. Clients trust the server's own authority and nobody else.
func OverHTTPAndTLS(t *testing.T, test func(t *testing.T, secure bool)) {
	for name, secure := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, secure)
		})
	}
}

// URL returns the address of the server's site, without a slash at the end.
func (s *Server) URL() string {
	if s.Trust != nil {
		return "https://" + s.Address()
	}
	return "http://" + s.Address()
}

// AuthorityFile returns the file with the certificate of the server's own authority.
func (s *Server) AuthorityFile() string { return s.path("data/caddy/pki/authorities/local/root.crt") }

// waitTLS waits until the server has a certificate, and has clients trust it.
func (s *Server) waitTLS() {
	s.t.Helper()
	s.Log.Wait(s.t, 0, "certificate obtained successfully")
	root, err := os.ReadFile(s.AuthorityFile())
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		s.t.Fatalf("this is no certificate: %s", root)
	}
	s.Trust = &tls.Config{RootCAs: roots}
	s.HTTP = plainHTTP(s.Trust)
	deadline := time.Now().Add(Timeout)
	for {
		conn, err := s.DialTCP()
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the server does not serve TLS: %v", err)
		}
		time.Sleep(20 * time.Millisecond) // no event says when to try again
	}
}

// DialTCP opens a connection and sends nothing, except for the handshake of TLS.
func (s *Server) DialTCP() (net.Conn, error) {
	if s.Trust == nil {
		return net.Dial("tcp", s.Address())
	}
	return tls.Dial("tcp", s.Address(), s.Trust)
}

// TCPConn returns the TCP connection below conn, which may be TLS.
func TCPConn(conn net.Conn) *net.TCPConn {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return conn.(*net.TCPConn)
}
