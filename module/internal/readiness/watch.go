// Package readiness waits until connections can be read, without a goroutine for each.
//
// loop_linux.go does that by epoll. Elsewhere, and in tests with the build tag
// "goroutines", nothing can be watched: whoever reads from a connection has a goroutine
// that waits.
package readiness

// A Sleeper has something to do when its connection can be read.
type Sleeper interface {
	// Wake says that there is input, or that the connection has ended. It may also be called
	// without a reason, even after Remove. It must not block.
	Wake()
}
