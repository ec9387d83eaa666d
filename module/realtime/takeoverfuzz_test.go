package realtime

import (
	"encoding/json"
	"testing"
	"time"
)

// FuzzTakenSocket gives a node any answer to a takeover. What it accepts leaves the namespace whole.
func FuzzTakenSocket(f *testing.F) {
	for _, sample := range []string{
		`{"socket":{"id":"a","endpoint":"test","session":"s","user":"ann","data":{"x":1},"rooms":["red"],"left":"2026-01-01T00:00:00Z","state":{"pid":"p","start":0,"last_sent":0,"left":0,"sessions":["r"]}},` +
			`"missed":[{"event":"e","args":[{"json":1}],"namespace":""}],"heard":[{"node":"n","incarnation":"i","topic":"all","number":7}],"received":{"all":5},"copies":[{"node":"n","incarnation":"i","id":3}],"took":1}`,
		`{"socket":{"id":"a","rooms":["red","red","a"],"state":{"pid":"p"}},"missed":[{"event":"connect","args":[]}]}`,
		`{"more":["red"]}`, `{"more":[]}`, `{}`, `null`, `[`, ``,
	} {
		f.Add([]byte(sample))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		h, err := NewHub(Options{Recovery: Recovery{Window: time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = h.Close() }()
		taken := new(takenSocket)
		if decodeAnswer(body, taken) != nil || taken.More != nil {
			return
		}
		r := h.Namespace("/").recovery.Load()
		e := NewEndpoint("test", h, func() (*Policy, func()) { return new(Policy), func() {} })
		a := &arrival{hub: h, store: r, epoch: r.hold(), handshake: &Handshake{Endpoint: e}, claim: claim{"/", "test", taken.Socket.State.PID}}
		state, d, err := r.importSocket(a, taken)
		if err != nil {
			return
		}
		if state.holder != d.socket || len(h.Find(Selector{Sockets: []string{taken.Socket.ID}})) != 1 && !d.socket.expired() {
			t.Errorf("the socket is not there")
		}
		for _, room := range d.socket.Rooms() {
			if room == d.socket.id || h.Namespace("/").disconnected.rooms.get(room) == noMembers {
				t.Errorf("it is in the room %q", room)
			}
		}
		d.ready = true
		if data, n, err := h.Seal(); err == nil && n > 0 {
			var s snapshot
			if err := json.Unmarshal(data, &s); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzTakeoverRequests gives a node any request.
func FuzzTakeoverRequests(f *testing.F) {
	for _, sample := range []string{
		`{"namespace":"/","endpoint":"test","pid":"p","offset":"o","shards":[1],"numbers":{"n":{"incarnation":"i","last":{"all":1}}}}`,
		`{"namespace":"/","endpoint":"test","pid":"p","taken":true}`, `{"namespace":""}`, `{}`, `null`, ``,
	} {
		f.Add([]byte(sample))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, request := range []interface{ check() error }{new(takeoverFind), new(takeover), new(takeoverEnd)} {
			if decodeOperation(body, request) != nil {
				continue
			}
			if request.check() == nil {
				if _, err := json.Marshal(request); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
