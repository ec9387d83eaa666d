//go:build !linux

// Package reuseport says which of several sockets that listen at one address by
// SO_REUSEPORT gets the connections.
package reuseport

import (
	"errors"
	"net"
)

// A Socket is a listening TCP socket. Here there is none.
type Socket struct {
	// Inode is its number, as the tables of the kernel have it.
	Inode uint64
}

// A Listen opens an address with SO_REUSEPORT, and what a configuration says.
type Listen func(network, address string, config net.ListenConfig) (net.Listener, error)

// Find returns the socket of a listener. It reports false where there is none:
// here.
func Find(net.Listener, Listen) (*Socket, bool) { return nil, false }

// Group returns the inodes of all sockets that listen at the socket's address.
func (*Socket) Group() ([]uint64, error) { return nil, errors.ErrUnsupported }

// Steer has the kernel give all connections to one of the sockets of the group.
func (*Socket) Steer(uint32) error { return errors.ErrUnsupported }

// Share ends what Steer began.
func (*Socket) Share() error { return errors.ErrUnsupported }

// Queued returns how many connections wait for being accepted.
func (*Socket) Queued() (int, error) { return 0, errors.ErrUnsupported }
