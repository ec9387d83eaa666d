// Package listener opens the port that the bench has chosen for a server.
package listener

import (
	"crypto/tls"
	"log"
	"net"
	"os"
)

// Address returns the address of BENCH_PORT on the loopback interface.
func Address() string { return "127.0.0.1:" + os.Getenv("BENCH_PORT") }

// Open listens at Address; over TLS if BENCH_CERTIFICATE and BENCH_KEY name files. A failure ends
// the process.
func Open() net.Listener {
	l, err := net.Listen("tcp4", Address())
	if err != nil {
		log.Fatal(err)
	}
	certificate := os.Getenv("BENCH_CERTIFICATE")
	if certificate == "" {
		return l
	}
	pair, err := tls.LoadX509KeyPair(certificate, os.Getenv("BENCH_KEY"))
	if err != nil {
		log.Fatal(err)
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
}
