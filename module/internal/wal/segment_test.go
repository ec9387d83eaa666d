package wal

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

const (
	someLog = "0123456789abcdefghij-_"
	someID  = "msg_AAAAAAAAAAAAAAAAAAAAAA"
)

// raw is a value that is encoded already.
type raw string

// AppendJSON implements Value.
func (r raw) AppendJSON(b []byte) []byte { return append(b, r...) }

// encode returns a segment as it is written.
func (s *segment) encode() []byte {
	var lines []byte
	for _, e := range s.entries {
		if e.Value == nil {
			lines = appendEntry(lines, e.ID, nil)
		} else {
			lines = appendEntry(lines, e.ID, raw(e.Value))
		}
	}
	return s.appendTo(nil, lines, len(s.entries))
}

// someSegment returns a segment with an entry of every kind.
func someSegment() *segment {
	return &segment{log: someLog, at: time.UnixMilli(1_700_000_000_000), ended: true, entries: []Entry{
		{ID: someID},
		{ID: someID, Value: []byte(`{"due":1,"data":{"a":[1.0,"<ü>"]}}`)},
		{ID: "other", Value: []byte(`{"a":null}`)},
	}}
}

// TestFormat: the format is that of files which earlier versions wrote.
func TestFormat(t *testing.T) {
	const want = `{"v":1,"run":"0123456789abcdefghij-_","at":1700000000000,"ended":true,"records":3,"sum":925825145}
{"id":"msg_AAAAAAAAAAAAAAAAAAAAAA"}
{"id":"msg_AAAAAAAAAAAAAAAAAAAAAA","due":1,"data":{"a":[1.0,"<ü>"]}}
{"id":"other","a":null}
`
	if got := string(someSegment().encode()); got != want {
		t.Errorf("it is written as\n%s\nwant\n%s", got, want)
	}
}

func TestParseSegmentIsStrict(t *testing.T) {
	good := someSegment()
	text := string(good.encode())
	s, err := parseSegment([]byte(text))
	if err != nil || len(s.entries) != 3 || !s.ended || !s.at.Equal(good.at) || s.log != good.log {
		t.Fatalf("%+v, %v", s, err)
	}
	for i, e := range s.entries {
		if e.ID != good.entries[i].ID || !bytes.Equal(e.Value, good.entries[i].Value) {
			t.Errorf("entry %d is %s %s", i, e.ID, e.Value)
		}
	}
	for i := range text { // whichever bit is wrong
		if _, err := parseSegment([]byte(text[:i])); err == nil {
			t.Errorf("its first %d bytes are accepted", i)
		}
		broken := []byte(text)
		broken[i] ^= 1
		if s, err := parseSegment(broken); err == nil && i >= strings.Index(text, "\n") {
			t.Errorf("it is accepted with byte %d broken: %+v", i, s)
		}
	}
	for name, text := range map[string]string{
		"version": strings.Replace(text, `{"v":1`, `{"v":2`, 1),
		"member":  strings.Replace(text, `{"v":1`, `{"v":1,"w":1`, 1),
		"count":   strings.Replace(text, `"records":3`, `"records":2`, 1),
	} {
		if _, err := parseSegment([]byte(text)); err == nil {
			t.Errorf("one with another %s is accepted", name)
		}
	}
}

func TestParseEntryIsStrict(t *testing.T) {
	for _, line := range []string{
		``, `{}`, `{"id":""}`, `{"id":"a"`, `{"id":"a",}`, `{"id":"a\n"}`, `{"id":"ü"}`, `{"id":1}`, `{"a":1,"id":"a"}`,
		`{"id":"a","b"}`, `{"id":"a","b":1}{}`, `{"id":"a"}}`, `{"id":"a" }`, ` {"id":"a"}`,
	} {
		if e, err := parseEntry([]byte(line)); err == nil {
			t.Errorf("%s is accepted: %+v", line, e)
		}
	}
}

func FuzzSegment(f *testing.F) {
	f.Add(someSegment().encode())
	f.Add((&segment{log: someLog}).encode())
	f.Add([]byte("{}\n"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, value []byte) {
		// No fuzzer would find the checksum.
		if head, lines, ok := bytes.Cut(value, []byte("\n")); ok && len(head) < 1000 {
			s := segment{log: someLog, at: time.UnixMilli(0)}
			checkSegment(t, s.appendTo(nil, lines, bytes.Count(lines, []byte("\n"))))
		}
		checkSegment(t, value)
	})
}

// checkSegment checks that an accepted segment is written the same way.
func checkSegment(t *testing.T, value []byte) {
	t.Helper()
	s, err := parseSegment(value)
	if err != nil {
		return
	}
	again := s.encode()
	_, lines, _ := bytes.Cut(value, []byte("\n"))
	if _, same, _ := bytes.Cut(again, []byte("\n")); !bytes.Equal(lines, same) {
		t.Errorf("%q became %q", lines, same)
	}
	if _, err := parseSegment(again); err != nil {
		t.Errorf("%q became %q: %v", value, again, err)
	}
}

func FuzzParseName(f *testing.F) {
	for _, name := range []string{segmentName(someLog, 1), segmentName(someLog, 1<<63), markName(someLog), "", "12345678", segmentName(someLog, 0)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		log, number, ok := parseName(name)
		if ok && name != markName(log) && (number == 0 || name != segmentName(log, number)) {
			t.Errorf("%q is read as %q, %d", name, log, number)
		}
	})
}
