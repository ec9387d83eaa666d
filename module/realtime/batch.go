package realtime

import (
	"context"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
)

// A Batch holds back what is sent because of the input that one connection has
// at the moment, so that all of it for one client leaves in one write. It is
// fit for any goroutine and any time: once it has ended, it holds nothing back.
type Batch = outbox.Batch

// WithBatch returns a context in which what a Handler emits is sent in a batch.
// Protocols give it to Socket.HandleEvent. The batch may be nil.
func WithBatch(ctx context.Context, batch *Batch) context.Context {
	if batch == nil {
		return ctx
	}
	return batchContext{ctx, batch}
}

// Flush sends what a Handler has emitted so far, and what other events of the
// same input had held back. A Handler calls it before it waits for anything.
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
