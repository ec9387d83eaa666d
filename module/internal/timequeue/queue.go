// Package timequeue has a queue of things that are due at some time. It knows where
// each of them is, so that one can leave it, or become due at another time.
package timequeue

import (
	"container/heap"
	"time"
)

// A Queue has the entry that is due first at its front. The zero value is empty. Its
// methods must not be called concurrently.
type Queue[T any] struct{ entries entries[T] }

// An Entry is a thing that may be in a queue, and in one at most. It is mostly a part
// of what Value refers to. The zero value is in none.
type Entry[T any] struct {
	Due      time.Time // may be changed while the entry is in no queue, before Fix, and by Put
	Value    T
	position int // in the queue, from 1; 0: in none
}

// Len returns how many entries there are.
func (q *Queue[T]) Len() int { return len(q.entries) }

// First returns the entry that is due first; nil if there is none.
func (q *Queue[T]) First() *Entry[T] {
	if len(q.entries) == 0 {
		return nil
	}
	return q.entries[0]
}

// Push adds an entry that is in no queue.
func (q *Queue[T]) Push(e *Entry[T]) { heap.Push(&q.entries, e) }

// Put has an entry due at a time. The queue may have it already.
func (q *Queue[T]) Put(e *Entry[T], due time.Time) {
	e.Due = due
	if e.position > 0 {
		q.Fix(e)
	} else {
		q.Push(e)
	}
}

// Remove removes an entry, if the queue has it.
func (q *Queue[T]) Remove(e *Entry[T]) {
	if e.position > 0 {
		heap.Remove(&q.entries, e.position-1)
	}
}

// Fix must be called when an entry of the queue is due at another time than before.
func (q *Queue[T]) Fix(e *Entry[T]) { heap.Fix(&q.entries, e.position-1) }

// All returns the entries in no particular order. The caller must not change the slice,
// nor use it after the queue has changed.
func (q *Queue[T]) All() []*Entry[T] { return q.entries }

// entries implements heap.Interface.
type entries[T any] []*Entry[T]

func (e entries[T]) Len() int           { return len(e) }
func (e entries[T]) Less(i, j int) bool { return e[i].Due.Before(e[j].Due) }

func (e entries[T]) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].position, e[j].position = i+1, j+1
}

func (e *entries[T]) Push(v any) {
	entry := v.(*Entry[T])
	*e = append(*e, entry)
	entry.position = len(*e)
}

func (e *entries[T]) Pop() any {
	last := len(*e) - 1
	entry := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	entry.position = 0
	return entry
}
