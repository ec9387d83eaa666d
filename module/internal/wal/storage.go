package wal

import "context"

// Storage keeps values beyond the life of the process. One goroutine uses it at a
// time. It may fail at any time: what was to be written then does not survive the
// process, and nothing else suffers.
type Storage interface {
	// Write sets the value of a name: 22 to 50 letters, digits, - and _. A reader gets
	// either the whole value or the one before it.
	Write(ctx context.Context, name string, value []byte) error
	// Read returns the value of a name, and whether there is one.
	Read(ctx context.Context, name string) (value []byte, found bool, err error)
	// Remove removes the value of a name, if there is one.
	Remove(ctx context.Context, name string) error
	// List returns all names that have a value, in any order.
	List(ctx context.Context) ([]string, error)
}
