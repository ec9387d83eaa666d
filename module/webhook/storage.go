package webhook

import "context"

// Storage keeps values beyond the life of the process. It is asked by one
// goroutine at a time, only while a backend that has it is attached, and may
// fail at any time: what it is for then does not survive, and nothing else
// suffers.
type Storage interface {
	// Write makes value that of a name: 22 to 50 letters, digits, - and _. Whoever
	// reads it gets all of it, or what was there before.
	Write(ctx context.Context, name string, value []byte) error
	// Read returns the value of a name, and whether there is one.
	Read(ctx context.Context, name string) (value []byte, found bool, err error)
	// Remove removes the value of a name, if there is one.
	Remove(ctx context.Context, name string) error
	// List returns all names that have a value, in no particular order.
	List(ctx context.Context) ([]string, error)
}
