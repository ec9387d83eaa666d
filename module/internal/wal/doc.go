// Package wal is a write-ahead log: it keeps records beyond the life of a process,
// in a storage of named values.
//
// A Log collects what is put and deleted, and writes it a second later as one value
// of the storage, a segment. It never changes a segment. When old segments are small
// beside those after them, it writes their records again, together with the next
// changes, and removes the old segments. So there are few segments, and the bytes
// written are in proportion to the changes, times the logarithm of the number of
// records.
//
// A process that is killed loses the changes of the last second. The next process
// with the same storage takes over what the log of the previous one holds.
//
//   - log.go: the log and its records
//   - chunk.go: what is written together, and when it is written again
//   - flusher.go: the goroutine that writes
//   - takeover.go: what previous processes left
//   - segment.go: the format; storage.go: where segments are kept
package wal
