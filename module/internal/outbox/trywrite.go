package outbox

// A tryWriter writes without ever waiting. It returns how many bytes the kernel has taken,
// which may be none, and an error only if the connection is broken.
type tryWriter interface {
	tryWrite(p []byte) (n int, err error)
}
