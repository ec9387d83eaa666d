//go:build !linux

// Package reuseport tells the kernel which of several sockets that listen at one address
// (SO_REUSEPORT) gets the new connections. It does so on Linux only.
package reuseport

import (
	"errors"
	"net"
)

// A Socket refers to a listening TCP socket. On this system there is none.
type Socket struct {
	// Inode is its number in the kernel's tables.
	Inode uint64
}

// A Listen listens at an address with SO_REUSEPORT and a net.ListenConfig.
type Listen func(network, address string, config net.ListenConfig) (net.Listener, error)

// Find returns the socket of a listener. On this system it always reports false.
func Find(net.Listener, Listen) (*Socket, bool) { return nil, false }

// Group returns an error on this system.
func (*Socket) Group() ([]uint64, error) { return nil, errors.ErrUnsupported }

// Steer returns an error on this system.
func (*Socket) Steer(uint32) error { return errors.ErrUnsupported }

// Share undoes Steer.
func (*Socket) Share() error { return errors.ErrUnsupported }

// Queued returns how many connections wait to be accepted.
func (*Socket) Queued() (int, error) { return 0, errors.ErrUnsupported }
