package outbox

// A tryWriter writes without ever waiting: it returns how many bytes the
// kernel took, which may be none, and an error only where the connection is
// broken.
type tryWriter interface {
	tryWrite(p []byte) (n int, err error)
}
