package webhook

import (
	"testing"
	"unicode/utf8"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func FuzzParseAnswer(f *testing.F) {
	for _, seed := range []string{
		``, ` `, `{}`, `null`, `[]`, `{"user":1}`, `{"user":"u","data":{"a":1},"join":["r"],"leave":["q"]}`,
		`{"ack":[{"$binary":"AQI="},null]}`, `{"emit":[{"to":["a"],"users":["u"],"except":["b"],"namespace":"/x","event":"e","args":[1],"volatile":true}]}`,
		`{"emit":[null]}`, "{\"ack\":[\"\xff\"]}", `{"expires_at":"2026-01-01T00:00:00Z","disconnect":{"reason":"r","close":true}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := parseAnswer(body)
		if err != nil {
			return
		}
		if a == nil {
			t.Fatal("neither an answer nor an error")
		}
		for _, e := range a.Emit {
			if e.Event == "" || realtime.Reserved(e.Event) {
				t.Errorf("%q can be sent", e.Event)
			}
		}
		if text := realtime.AppendPlainArgs(nil, a.ack); !utf8.Valid(text) {
			t.Errorf("a client gets %q", text)
		}
	})
}

func FuzzParseProblem(f *testing.F) {
	for _, seed := range []string{``, `{"error":{"code":"c","message":"m","data":[1]}}`, `{"error":"text"}`, "{\"error\":{\"message\":\"m\",\"data\":\"\xff\"}}", `null`} {
		f.Add(400, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		r := &reply{status, body}
		if e, ok := r.eventError().(*realtime.Error); ok && (e.Code == "" || e.Message == "") {
			t.Errorf("a client learns %+v", e)
		}
		if e, ok := r.connectError().(*realtime.ConnectError); ok && (e.Message == "" || !utf8.Valid(e.Data)) {
			t.Errorf("a client learns %+v", e)
		}
	})
}
