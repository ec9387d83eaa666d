package wal

import (
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wal/waltest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// takeoverTime is how long it takes until a process has taken over what a killed one
// left.
const takeoverTime = abandonedAfter + 5*time.Second

// pass lets time pass, and whatever happens then.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A process has a log, within a bubble. It keeps what it takes over.
type process struct {
	*Log
	disk     *waltest.Disk
	records  map[string]*Record
	model    map[string]string // what the log should hold
	taken    map[string]string // what has been taken over so far
	failures int
	logs     *observer.ObservedLogs
}

// start starts a process with a disk.
func start(t *testing.T, d *waltest.Disk) *process {
	t.Helper()
	p := &process{disk: d, records: make(map[string]*Record), model: make(map[string]string), taken: make(map[string]string)}
	p.Log = New(Options{
		TakeOver: func(left []Entry, _ time.Time) {
			for _, e := range left {
				if p.taken[e.ID] != "" {
					t.Errorf("%s is taken over twice", e.ID)
				}
				p.taken[e.ID] = string(e.Value)
				p.put(e.ID, string(e.Value))
			}
		},
		Failed: func(error) { p.failures++ },
	})
	core, logs := observer.New(zap.InfoLevel)
	p.logs = logs
	p.Use(d.Storage(), zap.New(core))
	return p
}

// put puts a record, or updates it.
func (p *process) put(id, value string) {
	p.model[id] = value
	if r := p.records[id]; r != nil {
		p.Update(r, raw(value))
	} else {
		p.records[id] = p.Put(id, raw(value))
	}
}

func (p *process) delete(id string) {
	if r := p.records[id]; r != nil {
		p.Delete(r)
	}
	delete(p.records, id)
	delete(p.model, id)
}

// kill ends the process, and returns the disk as it is then.
func (p *process) kill(t *testing.T) *waltest.Disk {
	t.Helper()
	after := waltest.At(p.disk.Now())
	p.disk.Fail(errors.New("the process is gone"))
	_ = p.Stop(t.Context()) // nobody sees what it does from now on
	return after
}

// exit ends the process as it should end.
func (p *process) exit(t *testing.T) {
	t.Helper()
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// held returns what the next process finds on a disk.
func held(t *testing.T, d *waltest.Disk) map[string]string {
	t.Helper()
	p := start(t, waltest.At(d.Now()))
	pass(takeoverTime)
	if p.TakingOver() {
		t.Error("there is still something to be taken over")
	}
	if !maps.Equal(p.taken, p.model) {
		t.Errorf("it keeps %v of %v", p.model, p.taken)
	}
	p.exit(t)
	return p.taken
}
