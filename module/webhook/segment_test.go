package webhook

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

const (
	someRun = "0123456789abcdefghij-_"
	someID  = "msg_AAAAAAAAAAAAAAAAAAAAAA"
)

// someSegment returns one with a record of every kind.
func someSegment() *segment {
	data := `{"socket":{"id":"s","session":"c","node":"n","namespace":"/","user":"<ü>","connected_at":"2026-01-01T00:00:00.123Z"},"state":{"a":[1.0,"<"]},"reason":"%","initiator":"","duration_ms":0,"user_connections_left":0}`
	return &segment{run: someRun, at: time.UnixMilli(1_700_000_000_000), ended: true, records: []record{
		{id: someID},
		{id: someID, peer: realtime.Peer{ClientIP: "203.0.113.7", Host: "a:1", Secure: true}, data: []byte(strings.ReplaceAll(data, "%", ""))},
		{id: someID, due: time.UnixMilli(1), data: []byte(strings.ReplaceAll(data, "%", "transport close"))},
	}}
}

func TestSegmentIsStrict(t *testing.T) {
	good := someSegment()
	text := string(good.value())
	if s, err := parseSegment([]byte(text)); err != nil || len(s.records) != 3 || !s.ended || !s.at.Equal(good.at) {
		t.Fatalf("%+v, %v", s, err)
	}
	for i := range text { // whatever bit is wrong
		if _, err := parseSegment([]byte(text[:i])); err == nil {
			t.Errorf("its first %d bytes are taken", i)
		}
		broken := []byte(text)
		broken[i] ^= 1
		if s, err := parseSegment(broken); err == nil && i >= strings.Index(text, "\n") {
			t.Errorf("it is taken with byte %d broken: %+v", i, s)
		}
	}
	replaced := func(from, to string) *segment {
		s := someSegment()
		for i := range s.records {
			s.records[i].id = strings.ReplaceAll(s.records[i].id, from, to)
			s.records[i].data = bytes.ReplaceAll(s.records[i].data, []byte(from), []byte(to))
		}
		return s
	}
	for name, s := range map[string]*segment{
		"a header's end":      replaced("msg_AA", `msg_\n`),
		"a short id":          replaced("msg_AA", `msg_`),
		"another field":       replaced(`"state"`, `"more":1,"state"`),
		"no state":            replaced(`{"a":[1.0,"<"]}`, "null"),
		"no time":             replaced("2026-01-01T", "2026-01-01 "),
		"no id":               replaced(`"id":"s"`, `"id":""`),
		"two values":          replaced(`"user_connections_left":0}`, `"user_connections_left":0}{}`),
		"a reason, and there": replaced(`"reason":""`, `"reason":"x"`),
		"no reason, and gone": replaced("transport close", ""),
		"a duration in words": replaced(`"duration_ms":0`, `"duration_ms":"long"`),
	} {
		if _, err := parseSegment(s.value()); err == nil {
			t.Errorf("one with %s is taken", name)
		}
	}
	for name, text := range map[string]string{
		"version": strings.Replace(text, `{"v":1`, `{"v":2`, 1),
		"field":   strings.Replace(text, `{"v":1`, `{"v":1,"w":1`, 1),
		"count":   strings.Replace(text, `"records":3`, `"records":2`, 1),
	} {
		if _, err := parseSegment([]byte(text)); err == nil {
			t.Errorf("one of another %s is taken", name)
		}
	}
}

func FuzzSegment(f *testing.F) {
	f.Add(someSegment().value())
	f.Add((&segment{run: someRun}).value())
	f.Add([]byte("{}\n"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, value []byte) {
		// Few would guess a checksum.
		if head, lines, ok := bytes.Cut(value, []byte("\n")); ok && len(head) < 1000 {
			s := segment{run: someRun, at: time.UnixMilli(0)}
			checkSegment(t, s.appendLines(nil, lines, bytes.Count(lines, []byte("\n"))))
		}
		checkSegment(t, value)
	})
}

// checkSegment: what is taken is written the same way, but for space.
func checkSegment(t *testing.T, value []byte) {
	t.Helper()
	s, err := parseSegment(value)
	if err != nil {
		return
	}
	again := s.value()
	if len(again) > 8*len(value)+200 {
		t.Errorf("%d bytes became %d", len(value), len(again))
	}
	same, err := parseSegment(again)
	if err != nil {
		t.Fatalf("%q became %q: %v", value, again, err)
	}
	if third := same.value(); !bytes.Equal(again, third) {
		t.Errorf("%q became %q", again, third)
	}
	for _, r := range s.records {
		if strings.ContainsAny(r.id, "\r\n") {
			t.Errorf("the id %q is taken", r.id)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, name := range []string{segmentName(someRun, 1), segmentName(someRun, 1<<63), markName(someRun), "", "12345678", segmentName(someRun, 0)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		run, number, ok := parseName(name)
		if ok && name != markName(run) && (number == 0 || name != segmentName(run, number)) {
			t.Errorf("%q is taken for %q, %d", name, run, number)
		}
	})
}
