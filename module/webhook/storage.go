package webhook

import "github.com/caddy-realtime/caddy-realtime/module/internal/wal"

// Storage keeps values beyond the life of the process: it has the methods Write, Read,
// Remove and List. One goroutine uses it at a time, and none after the queue has left
// the backend that has it. It may fail at any time: then what was to be written does not
// survive the process, and nothing else suffers.
type Storage = wal.Storage
