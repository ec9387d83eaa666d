package wal

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wal/waltest"
)

// record is about as large as the record of a socket.
var record = `{"data":"` + strings.Repeat("x", 250) + `"}`

// TestCompaction: what is written is in proportion to what changes, and what is kept in
// proportion to the records.
func TestCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := waltest.New()
		p := start(t, d)
		const records, changes = 2000, 1000
		for i := range records {
			p.put(fmt.Sprint("r", i), record)
		}
		pass(2 * flushInterval)
		size, written, most := d.Size(), d.Written(), 0
		for i := range changes {
			id := fmt.Sprint("s", i)
			p.put(id, record)
			pass(flushInterval)
			p.delete(id)
			pass(flushInterval)
			most = max(most, len(d.Names()))
		}
		each := (d.Written() - written) / changes
		t.Logf("%d records have %d bytes; %d bytes are written for each of %d that come and go; there are %d values at most", records, size, each, changes, most)
		if d.Size() > 3*size || most > 30 || each > 40*size/records {
			t.Errorf("%d bytes became %d", size, d.Size())
		}
		p.kill(t)
	})
}

// TestCorrupt: segments that cannot be read are left out, logged, and removed.
func TestCorrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, waltest.New())
		id := 0
		for _, n := range []int{48, 12, 3, 1} {
			for range n {
				id++
				p.put(fmt.Sprint("r", id), record)
			}
			pass(2 * flushInterval)
		}
		whole := p.kill(t)
		names := whole.Names()
		if len(names) < 3 {
			t.Fatalf("there are only %q", names)
		}
		for i, name := range names {
			mark := i == len(names)-1
			for how, damage := range map[string]func(value []byte) []byte{
				"emptied": func([]byte) []byte { return nil },
				"halved":  func(value []byte) []byte { return value[:len(value)/2] },
				"changed": func(value []byte) []byte {
					value = slices.Clone(value)
					value[len(value)-5] ^= 4
					return value
				},
				"renamed": func(value []byte) []byte { return []byte(strings.ReplaceAll(string(value), p.id, someLog)) },
			} {
				d := waltest.At(whole.Now())
				d.Set(name, damage(whole.Now().Values[name]))
				d.Set("123456789", []byte("left by a write that was cut off"))
				q := start(t, d)
				pass(2 * takeoverTime)
				if n := len(q.taken); mark && n != 64 || !mark && n >= 64 || n == 0 {
					t.Errorf("with %s %s, %d records are taken over", name, how, n)
				}
				if n := q.logs.FilterMessage("a part of an earlier process's journal is corrupt, and left out").Len(); n != 1 {
					t.Errorf("with %s %s, the log has %d lines", name, how, n)
				}
				for id := range q.taken {
					q.delete(id)
				}
				q.exit(t)
				if names := d.Names(); len(names) > 1 { // a foreign value stays while there is another log
					t.Errorf("afterwards there are %q", names)
				}
				q = start(t, d)
				pass(5 * time.Second)
				q.exit(t)
				if names := d.Names(); len(names) > 0 {
					t.Errorf("and in the end %q", names)
				}
			}
		}
	})
}

// TestTwoProcesses: a log in use is not taken over before it ends.
func TestTwoProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := waltest.New()
		old := start(t, d)
		old.put("a", record)
		pass(10 * time.Second)
		young := start(t, d)
		pass(10 * time.Minute)
		if len(young.taken) > 0 || !young.TakingOver() {
			t.Errorf("taken over from a process that lives: %v", young.taken)
		}
		old.put("b", record)
		old.exit(t)
		pass(2 * lookInterval)
		if len(young.taken) != 2 || young.TakingOver() {
			t.Errorf("taken over: %v", young.taken)
		}
		young.exit(t)
	})
}

// TestGoesOn: a log that has been closed can be used again.
func TestGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := waltest.New()
		p := start(t, d)
		p.put("a", record)
		if err := p.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		storage := d.Storage()
		p.Use(storage, p.logger)
		synctest.Wait() // The flusher has written a mark before Close does.
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		pass(2 * flushInterval) // A new mark says that the log is in use.
		other := start(t, d)
		pass(time.Minute)
		if len(other.taken) > 0 {
			t.Errorf("taken over from a log that goes on: %v", other.taken)
		}
		p.delete("a")
		p.exit(t)
		other.exit(t)
		if names := d.Names(); len(names) > 0 {
			t.Errorf("afterwards there are %q", names)
		}
	})
}

// TestWithoutStorage: what changes while there is no storage is written to the next one.
func TestWithoutStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := waltest.New()
		p := start(t, d)
		p.put("a", record)
		p.put("b", record)
		pass(2 * flushInterval)
		p.Leave(t.Context(), p.target, nil)
		p.put("a", `{"n":1}`)
		p.put("c", record)
		pass(time.Hour)
		if p.failures > 0 {
			t.Errorf("it failed %d times", p.failures)
		}
		if err := p.Close(t.Context()); !errors.Is(err, errNoStorage) {
			t.Errorf("it is closed with %v", err)
		}
		p.Use(d.Storage(), p.logger)
		pass(takeoverTime)
		if got := held(t, d); !maps.Equal(got, p.model) || len(got) != 3 {
			t.Errorf("it holds %v, want %v", got, p.model)
		}
		p.exit(t)
	})
}

// TestFails: a failing storage is tried again, less and less often.
func TestFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := waltest.New()
		d.Fail(errors.New("read-only"))
		p := start(t, d)
		p.put("a", record)
		pass(10 * time.Minute)
		if p.failures < 5 || p.failures > 25 {
			t.Errorf("it failed %d times in 10 minutes", p.failures)
		}
		d.Fail(nil)
		pass(2 * lastRetry)
		if got := held(t, d); got["a"] != record {
			t.Errorf("it holds %v", got)
		}
		p.exit(t)
	})
}
