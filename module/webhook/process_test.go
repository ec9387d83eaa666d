package webhook

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wal/waltest"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// How package wal works in time.
const (
	flushInterval = time.Second
	markInterval  = 5 * time.Second
	lookInterval  = time.Second
	storageRetry  = time.Minute

	// takeoverTime is how long it takes until a process has taken over what another one
	// left that was killed.
	takeoverTime = 17 * time.Second
)

// A process has a hub, and a backend that has a disk, within a bubble.
type process struct {
	*world
	recorder *recorder
	disk     *waltest.Disk // of the backend in use
	logger   *zap.Logger
	logs     *observer.ObservedLogs
}

func run(t testing.TB, d *waltest.Disk, l *recorder, recovery time.Duration) *process {
	t.Helper()
	hub, err := realtime.NewHub(realtime.Options{Recovery: realtime.Recovery{Window: recovery}})
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	p := &process{world: &world{t: t, hub: hub, queue: new(Queue)}, recorder: l, logger: zap.New(core), logs: logs}
	p.use(d)
	policy := &realtime.Policy{Authenticators: []realtime.Authenticator{p.backend}, Handlers: []realtime.Handler{p.backend}}
	p.endpoint = realtime.NewEndpoint("test", hub, func() (*realtime.Policy, func()) { return policy, func() {} })
	return p
}

// use has the queue use a new backend, whose storage is on a disk.
func (p *process) use(d *waltest.Disk) {
	p.disk = d
	p.backend = New(Options{URL: "http://backend/realtime", Transport: p.recorder.transport(), Storage: d.Storage(), Hub: p.hub, Logger: p.logger}, p.queue)
	p.queue.Use(p.backend)
}

// connectRecoverable lets a client in that may come back.
func (p *process) connectRecoverable() *realtime.Socket {
	p.t.Helper()
	s, err := p.hub.Namespace("/").Connect(p.t.Context(), p.handshake(), recoverable{new(client)})
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// replace kills the process, and starts another one with the disk as it is. It returns
// what the backend has been told once the new process has taken over.
func (p *process) replace() (next *process, told []*message) {
	p.t.Helper()
	next = run(p.t, p.crash(), &recorder{status: 204}, 0)
	time.Sleep(takeoverTime) // of a bubble
	told, _ = next.recorder.take()
	return next, told
}

// crash ends the process; what it does from then on nobody sees. It returns the disk as
// it was.
func (p *process) crash() *waltest.Disk {
	after := waltest.At(p.disk.Now())
	p.disk.Fail(errors.New("the process is gone"))
	p.recorder.set(503)
	p.queue.Leave(p.t.Context(), p.backend)
	_ = p.hub.Close()
	return after
}

// exit ends the process well.
func (p *process) exit() {
	p.queue.Suspend(p.t.Context(), p.backend)
	_ = p.hub.Close()
}

// A recoverable is a client that may come back.
type recoverable struct{ *client }

func (c recoverable) SendRecovered(s *realtime.Socket, _ []*realtime.Message) error {
	c.socket = s
	return nil
}

// tellings returns what was told of each socket, by the socket and the
// webhook-id, in "<initiator> <reason>".
func tellings(told []*message) map[string]map[string]string {
	all := make(map[string]map[string]string)
	for _, m := range told {
		var body struct {
			Data struct{ Initiator, Reason string }
		}
		if err := json.Unmarshal(m.body, &body); err != nil {
			panic(err)
		}
		id := m.Data.Socket.ID
		if all[id] == nil {
			all[id] = make(map[string]string)
		}
		all[id][m.header.Get("Webhook-Id")] = body.Data.Initiator + " " + body.Data.Reason
	}
	return all
}
