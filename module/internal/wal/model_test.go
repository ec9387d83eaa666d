package wal

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wal/waltest"
)

// TestModel does what users of a log do, in any order, and compares what the next
// process finds with a map.
func TestModel(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) { testModel(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func testModel(t *testing.T, random *rand.Rand) {
	disk := waltest.New()
	p := start(t, disk)
	// Values of all sizes have segments of all ages.
	value := func(step int) string {
		return fmt.Sprintf(`{"step":%d,"more":"%s"}`, step, strings.Repeat("x", random.IntN(1<<random.IntN(14))))
	}
	for step := range 400 {
		some := func() string {
			if len(p.model) == 0 {
				return "none"
			}
			return slices.Sorted(maps.Keys(p.model))[random.IntN(len(p.model))]
		}
		switch random.IntN(39) {
		default:
			p.put(fmt.Sprint("r", step), value(step))
		case 1, 2, 3, 4, 5:
			if len(p.model) > 0 {
				p.put(some(), value(step))
			}
		case 6, 7, 8, 9, 10, 11, 12, 13, 14, 15:
			p.delete(some())
		case 16, 17, 18, 19:
			pass(time.Duration(random.Int64N(int64(5 * time.Second))))
		case 20: // another configuration, of the same place
			old := p.target
			p.Use(disk.Storage(), zap.NewNop())
			p.Leave(t.Context(), old, nil)
		case 21: // another place
			old := p.target
			disk = waltest.New()
			p.Use(disk.Storage(), zap.NewNop())
			p.Leave(t.Context(), old, nil)
			p.disk = disk
		case 22:
			disk.Fail(errors.New("not now"))
			pass(time.Duration(random.Int64N(int64(time.Minute))))
			disk.Fail(nil)
		case 23: // the process is killed, some time after the last change
			pass(2 * lastRetry)
			want := maps.Clone(p.model)
			disk = p.kill(t)
			p = start(t, disk)
			pass(takeoverTime)
			checkHeld(t, step, p.taken, want)
		case 24: // or ends
			want := maps.Clone(p.model)
			pass(2 * lastRetry)
			p.exit(t)
			p = start(t, disk)
			pass(2 * time.Second)
			checkHeld(t, step, p.taken, want)
		case 25:
			pass(2 * lastRetry)
			checkHeld(t, step, held(t, disk), p.model)
		}
		if p.Len() != len(p.model) {
			t.Fatalf("step %d: it has %d records, want %d", step, p.Len(), len(p.model))
		}
	}
	for id := range p.model {
		p.Delete(p.records[id])
	}
	p.exit(t)
	if names := disk.Names(); len(names) > 0 {
		t.Errorf("without records there are %q", names)
	}
}

func checkHeld(t *testing.T, step int, got, want map[string]string) {
	t.Helper()
	for id := range want {
		if got[id] != want[id] {
			t.Fatalf("step %d: the next process finds %s as %.40q, want %.40q", step, id, got[id], want[id])
		}
	}
	for id := range got {
		if want[id] == "" {
			t.Fatalf("step %d: the next process finds %s, which is deleted", step, id)
		}
	}
}
