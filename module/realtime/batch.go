package realtime

import (
	"context"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
)

// A Batch holds back what is sent while one connection's input is handled, so that all of it for
// one client leaves with one write. Whoever opens a batch must close it; a closed batch, which the
// zero value is, holds nothing back, and neither does a nil *Batch. Its methods Open, Close and
// CloseUnderLock may be called concurrently.
//
// A batch enters the hub in a context, and leaves it as an argument:
//
//   - A protocol opens a batch when it has read input. It calls Socket.HandleEventIn with it,
//     or HandleEvent with a context from [WithBatch], and closes the batch before it waits for
//     more input.
//   - Handlers pass their context to Emit, as usual. One that waits calls [Flush] before.
//   - The hub looks the batch up once for each event, and gives it to every recipient's
//     [Conn.Deliver].
type Batch = outbox.Batch

// WithBatch returns a context in which everything that is emitted belongs to the batch. A nil batch
// leaves ctx as it is.
func WithBatch(ctx context.Context, batch *Batch) context.Context {
	if batch == nil {
		return ctx
	}
	return batchContext{ctx, batch}
}

// Flush closes the context's batch, if it has one: what was held back is sent now, and nothing is
// held back any more. A handler calls it before it waits for anything.
func Flush(ctx context.Context) {
	if batch := batchOf(ctx); batch != nil {
		batch.Close()
	}
}

type batchContext struct {
	context.Context
	batch *Batch
}

type batchKey struct{}

// Value implements context.Context.
func (c batchContext) Value(key any) any {
	if key == (batchKey{}) {
		return c.batch
	}
	return c.Context.Value(key)
}

func batchOf(ctx context.Context) *Batch {
	batch, _ := ctx.Value(batchKey{}).(*Batch)
	return batch
}
