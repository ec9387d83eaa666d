package wal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"time"
)

// segmentVersion is the version of the format below. No other version is read.
const segmentVersion = 1

// A segment is one value of the storage: a line of JSON that describes it, and a line
// for each entry. An entry replaces earlier ones with the same id.
type segment struct {
	log     string // the id of the log that it belongs to
	at      time.Time
	ended   bool // the log ended: nothing follows
	entries []Entry
}

// An Entry is what a log holds under an id.
type Entry struct {
	ID    string
	Value json.RawMessage // an object; nil: the record is deleted
}

type segmentHead struct {
	Version int    `json:"v"`
	Log     string `json:"run"`
	At      int64  `json:"at"` // milliseconds since 1970
	Ended   bool   `json:"ended,omitempty"`
	Entries int    `json:"records"`
	Sum     uint32 `json:"sum"` // CRC-32C of all lines that follow
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendEntry appends the line of an entry: its value with the id as the first
// member. A nil value is that of a deleted record.
func appendEntry(b []byte, id string, v Value) []byte {
	b = append(b, `{"id":"`...)
	b = append(b, id...)
	b = append(b, '"')
	if v == nil {
		return append(b, "}\n"...)
	}
	brace := len(b)
	b = v.AppendJSON(b)
	b[brace] = ','
	return append(b, '\n')
}

// appendTo appends a segment whose entries are lines already.
func (s *segment) appendTo(b, lines []byte, entries int) []byte {
	head, err := json.Marshal(segmentHead{
		Version: segmentVersion,
		Log:     s.log,
		At:      s.at.UnixMilli(),
		Ended:   s.ended,
		Entries: entries,
		Sum:     crc32.Checksum(lines, castagnoli),
	})
	if err != nil {
		panic(err) // numbers and a string are always encoded
	}
	b = append(b, head...)
	b = append(b, '\n')
	return append(b, lines...)
}

// parseSegment reads a segment. The error says what is wrong with it; then nothing of
// it can be trusted.
func parseSegment(value []byte) (*segment, error) {
	first, lines, ok := bytes.Cut(value, []byte("\n"))
	if !ok {
		return nil, errors.New("it has no line")
	}
	var head segmentHead
	d := json.NewDecoder(bytes.NewReader(first))
	d.DisallowUnknownFields()
	if err := d.Decode(&head); err != nil {
		return nil, fmt.Errorf("its first line: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("its first line has more than one value")
	}
	switch {
	case head.Version != segmentVersion:
		return nil, fmt.Errorf("it has version %d, and not %d", head.Version, segmentVersion)
	case head.Sum != crc32.Checksum(lines, castagnoli):
		return nil, errors.New("its checksum is wrong")
	case head.Entries != bytes.Count(lines, []byte("\n")) || len(lines) > 0 && lines[len(lines)-1] != '\n':
		return nil, fmt.Errorf("it does not have %d records", head.Entries)
	}
	s := &segment{log: head.Log, at: time.UnixMilli(head.At), ended: head.Ended}
	for line := range bytes.Lines(lines) {
		e, err := parseEntry(line[:len(line)-1])
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", len(s.entries)+1, err)
		}
		s.entries = append(s.entries, e)
	}
	return s, nil
}

var errEntry = errors.New("it is not an object with an id")

func parseEntry(line []byte) (Entry, error) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"id":"`))
	id, rest, cut := bytes.Cut(rest, []byte(`"`))
	if !ok || !cut || !validID(string(id)) {
		return Entry{}, errEntry
	}
	e := Entry{ID: string(id)}
	if string(rest) == "}" {
		return e, nil
	}
	if len(rest) < 3 || rest[0] != ',' {
		return Entry{}, errEntry
	}
	e.Value = append(e.Value, '{')
	e.Value = append(e.Value, rest[1:]...)
	if !json.Valid(e.Value) {
		return Entry{}, errEntry
	}
	return e, nil
}

// validID reports whether an id consists of letters, digits, - and _.
func validID(id string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return id != "" && strings.Trim(id, letters) == ""
}

// logIDLength is the length of the ids that package randid makes.
const logIDLength = 22

// segmentName returns the name of a segment: the log's id, and the segment's number in
// hexadecimal, so that names sort by number.
func segmentName(log string, number uint64) string { return fmt.Sprintf("%s-%016x", log, number) }

// markName returns the name of the value that says that a log is in use.
func markName(log string) string { return log + "-alive" }

// parseName returns the log that a value belongs to, and its number; 0 for the mark.
func parseName(name string) (log string, number uint64, ok bool) {
	if len(name) < logIDLength || !validID(name[:logIDLength]) {
		return "", 0, false
	}
	log = name[:logIDLength]
	if name == markName(log) {
		return log, 0, true
	}
	rest, cut := strings.CutPrefix(name[logIDLength:], "-")
	number, err := strconv.ParseUint(rest, 16, 64)
	return log, number, cut && err == nil && number > 0 && name == segmentName(log, number)
}
