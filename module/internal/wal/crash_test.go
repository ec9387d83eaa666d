package wal

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wal/waltest"
)

// A change is that a record got a value, or was deleted.
type change struct {
	value string // "": deleted
	time  time.Time
}

// TestCrash kills a process at each change of its disk. The next process finds each
// record as it was at some time within the last flush interval. If that process is
// killed, too, while it takes over, the one after it finds the same.
func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		disk := waltest.New()
		disk.Record()
		p := start(t, disk)
		history := make(map[string][]change)
		for step := range 400 {
			id := fmt.Sprint("r", step)
			if ids := slices.Sorted(maps.Keys(p.model)); len(ids) > 0 && random.IntN(2) > 0 {
				id = ids[random.IntN(len(ids))]
			}
			c := change{time: time.Now()}
			if p.model[id] != "" && random.IntN(3) > 0 {
				p.delete(id)
			} else {
				c.value = fmt.Sprintf(`{"step":%d}`, step)
				p.put(id, c.value)
			}
			history[id] = append(history[id], c)
			pass(time.Duration(random.IntN(300)) * time.Millisecond)
		}
		moments := disk.Recorded()
		p.kill(t)
		t.Logf("%d changes of the disk", len(moments))
		for number, m := range moments {
			second := waltest.At(m)
			second.Record()
			found := maps.Clone(heldOn(t, second))
			for id, changes := range history {
				if !possible(changes, found[id], m.Time) {
					t.Errorf("change %d: %s is %q", number, id, found[id])
				}
			}
			again := second.Recorded()
			third := heldOn(t, waltest.At(again[random.IntN(len(again))]))
			if !maps.Equal(third, found) {
				t.Errorf("change %d: the second process finds %v, and the third %v", number, found, third)
			}
		}
	})
}

// heldOn is held without a copy of the disk. The process is killed in the end.
func heldOn(t *testing.T, d *waltest.Disk) map[string]string {
	t.Helper()
	p := start(t, d)
	pass(takeoverTime)
	taken := maps.Clone(p.taken)
	p.kill(t)
	return taken
}

// possible reports whether a crash at a time may leave a record with a value.
func possible(changes []change, value string, at time.Time) bool {
	from := at.Add(-flushInterval - 10*time.Millisecond)
	before := change{} // the record as it is until the next of changes
	for _, c := range append(slices.Clone(changes), change{time: at.Add(time.Hour)}) {
		if before.value == value && c.time.After(from) && !before.time.After(at) {
			return true
		}
		before = c
	}
	return false
}
