package redisadapter

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func showRequest(r *request) string {
	text := fmt.Sprintf("%d by %q", r.kind, r.uid)
	if r.id != "" {
		text += " " + r.id
	}
	switch r.kind {
	case broadcastWithAck:
		return text + ": " + show(r.packet, r.options)
	case serverSideEmit:
		return text + ": " + string(r.arguments.text)
	case joinRooms, leaveRooms:
		text += fmt.Sprintf(": %q", r.rooms)
	case disconnectSockets:
		text += fmt.Sprintf(": %t", r.close)
	}
	return text + fmt.Sprintf(" of %q except %q", r.options.rooms, r.except)
}

// TestParseRequest has what the adapter and the emitter publish.
func TestParseRequest(t *testing.T) {
	for message, want := range map[string]string{
		`{"type":2,"opts":{"rooms":["r"],"except":[]},"rooms":["a","b"]}`:               `2 by "": ["a" "b"] of ["r"] except []`,
		`{"type":3,"opts":{"rooms":[],"except":[]},"rooms":["a"]}`:                      `3 by "": ["a"] of [] except []`,
		`{"type":4,"opts":{"rooms":["x"],"except":["y"]},"close":true}`:                 `4 by "": true of ["x"] except ["y"]`,
		`{"uid":"emitter","type":6,"data":["ping",1]}`:                                  `6 by "emitter": ["ping",1]`,
		`{"uid":"r-clVY","type":2,"opts":{"rooms":[],"except":[]},"rooms":[5]}`:         `2 by "r-clVY": ["5"] of [] except []`,
		`{"uid":"r-clVY","type":4,"opts":{"rooms":[],"except":[]},"close":false}`:       `4 by "r-clVY": false of [] except []`,
		`{"uid":"r-clVY","requestId":"GZVeRD","type":0,"rooms":["a"]}`:                  `0 by "r-clVY" GZVeRD of ["a"] except []`,
		`{"uid":"r-clVY","requestId":"GZVeRD","type":1}`:                                `1 by "r-clVY" GZVeRD of [] except []`,
		`{"uid":"r-clVY","requestId":"owEwt9","type":6,"data":["sse",{"x":1}]}`:         `6 by "r-clVY" owEwt9: ["sse",{"x":1}]`,
		`{"uid":"r-clVY","requestId":"FL","type":5,"opts":{"rooms":["a"],"except":[]}}`: `5 by "r-clVY" FL of ["a"] except []`,
		string(unhex(t, "85a3756964a6722d636c5659a9726571756573744964a665345f647956a47479706507a67061636b657483a47479706502a46461746192a171c4017a"+
			"a36e7370a12fa46f70747383a5726f6f6d7391a178a665786365707490a5666c61677381a774696d656f7574cd05dc")): `7 by "r-clVY" e4_dyV: / "q" ` +
			`{"_placeholder":true,"num":0}<7a> to ["x"] except [] timeout 1.5s`,
		// up to version 6
		`{"uid":"u","requestId":"i","type":2,"sid":"s","room":"r"}`:   `2 by "u" i: ["r"] of ["s"] except []`,
		`{"uid":"u","requestId":"i","type":3,"sid":"s","room":7}`:     `3 by "u" i: ["7"] of ["s"] except []`,
		`{"uid":"u","requestId":"i","type":4,"sid":"s","close":true}`: `4 by "u" i: true of ["s"] except []`,
	} {
		r, err := parseRequest([]byte(message))
		if err != nil {
			t.Errorf("%s: %v", want, err)
		} else if got := showRequest(&r); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

func TestMalformedRequest(t *testing.T) {
	for _, message := range []string{
		"", "{", "{}", "[]", "\x80", "\xc1", `{"type":null}`, `{"type":-1}`, `{"type":"2"}`, `{"type":2.5}`, `{"type":5,"uid":1}`, `{"type":5,"requestId":[]}`,
		`{"type":5,"opts":[]}`, `{"type":5,"opts":{"rooms":{}}}`, `{"type":0,"rooms":"a"}`, `{"type":7}`, `{"type":7,"packet":{}}`,
		`{"requestid":"i","type":4,"sid":"s","room":"r"}`, // of version 5: leave a room
		// about nobody, and so not about everybody
		`{"type":4}`, `{"type":4,"opts":null}`, `{"type":4,"sid":""}`, `{"type":4,"sid":7}`, `{"type":2,"rooms":["a"]}`, `{"type":3,"sid":"s"}`,
		`{"type":5,"opts":{"rooms":[` + strings.Repeat(`1,`, maxNames) + `1]}}`,
	} {
		if r, err := parseRequest([]byte(message)); err == nil {
			t.Errorf("%.80q is %s", message, showRequest(&r))
		}
	}
}

func TestEncodeRequest(t *testing.T) {
	to := options{rooms: []string{"a", "1"}, except: []string{"<b>"}}
	for want, r := range map[string]request{
		`{"uid":"u","requestId":"i","type":5,"opts":{"rooms":["a","1",1],"except":["<b>"]}}`: {uid: "u", id: "i", kind: fetchSockets, options: to},
		`{"uid":"u","type":2,"opts":{"rooms":[],"except":[]},"rooms":["1"]}`:                 {uid: "u", kind: joinRooms, rooms: []string{"1"}},
		`{"uid":"u","type":4,"opts":{"rooms":["a","1",1],"except":["<b>"]},"close":false}`:   {uid: "u", kind: disconnectSockets, options: to},
	} {
		if got := strings.TrimSpace(string(r.encode())); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	m := &realtime.Message{Namespace: "/a", Event: "e", Args: []realtime.Arg{realtime.Bytes([]byte{9})}}
	to.timeout = 2 * time.Second
	r, err := parseRequest(encodeBroadcastWithAck("u", "i", m, &to))
	want := `7 by "u" i: /a "e" {"_placeholder":true,"num":0}<09> to ["a" "1" "1"] except ["<b>"] timeout 2s`
	if got := showRequest(&r); got != want || err != nil {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"uid":"u","requestId":"i","type":5,"opts":{"rooms":["a",1],"except":[]}}`))
	f.Add([]byte(`{"uid":"u","type":4,"opts":{"rooms":[],"except":[]},"close":true}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		r, err := parseRequest(message)
		if err != nil || r.kind != joinRooms && r.kind != leaveRooms && r.kind != disconnectSockets && r.kind != fetchSockets {
			return
		}
		again, err := parseRequest(r.encode())
		if err != nil || again.kind != r.kind || again.uid != r.uid || again.id != r.id || again.close != r.close {
			t.Errorf("%s is then %s, %v", showRequest(&r), showRequest(&again), err)
		}
	})
}
