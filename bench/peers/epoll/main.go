//go:build linux

// Command epoll is the floor: one thread that waits by epoll and does nothing but read, parse
// frames, and write. It has no timers, no heartbeats, no limits, no log, and parses only what the
// bench's clients send. What a server costs beyond it is the server's own.
package main

import (
	"log"
	"net"
	"syscall"

	"github.com/caddy-realtime/caddy-realtime/bench/peers/internal/listener"
)

func main() {
	log.Fatal(serve())
}

func serve() error {
	l, err := net.Listen("tcp4", listener.Address())
	if err != nil {
		return err
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File() // a descriptor that Go's own poller does not know
	if err != nil {
		return err
	}
	defer file.Close()
	listening := int(file.Fd())
	if err := syscall.SetNonblock(listening, true); err != nil {
		return err
	}
	return run(listening)
}
