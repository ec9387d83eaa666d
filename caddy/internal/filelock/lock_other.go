//go:build !unix

// Package filelock makes a file the possession of one process.
package filelock

import "errors"

// ErrLocked says that another process has the file.
var ErrLocked = errors.New("another process has it")

// Lock makes the file of a path the possession of this process. Here it believes
// that nobody else wants it.
func Lock(string) (unlock func(), err error) { return func() {}, nil }
