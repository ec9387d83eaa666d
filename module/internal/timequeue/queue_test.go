package timequeue

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestQueue compares the queue with a list that is sorted each time.
func TestQueue(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	due := func() time.Time { return time.Unix(random.Int64N(1000), 0) }
	var q Queue[int]
	var model []*Entry[int]
	for i := range 10_000 {
		switch random.IntN(5) {
		case 0, 1:
			e := &Entry[int]{Due: due(), Value: i}
			if i%2 == 0 {
				q.Push(e)
			} else {
				q.Put(e, e.Due)
			}
			model = append(model, e)
		case 2:
			if e := q.First(); e != nil {
				q.Remove(e)
				q.Remove(e) // does nothing
				model = slices.DeleteFunc(model, func(other *Entry[int]) bool { return other == e })
			}
		case 3:
			if len(model) > 0 {
				i := random.IntN(len(model))
				q.Remove(model[i])
				model = slices.Delete(model, i, i+1)
			}
		case 4:
			if len(model) > 0 {
				e := model[random.IntN(len(model))]
				if d := due(); i%2 == 0 {
					q.Put(e, d)
				} else {
					e.Due = d
					q.Fix(e)
				}
			}
		}
		if q.Len() != len(model) || len(q.All()) != len(model) {
			t.Fatalf("%d entries, want %d", q.Len(), len(model))
		}
		if len(model) == 0 {
			if q.First() != nil {
				t.Fatal("an empty queue has a first entry")
			}
			continue
		}
		first := slices.MinFunc(model, func(a, b *Entry[int]) int { return a.Due.Compare(b.Due) })
		if !q.First().Due.Equal(first.Due) {
			t.Fatalf("the first is due at %v, want %v", q.First().Due, first.Due)
		}
	}
}
