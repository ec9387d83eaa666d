package webhook

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

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// segmentVersion is that of the format below. Another one is not read.
const segmentVersion = 1

// A segment is one value of a journal: a line of JSON that says what it is, and
// one for each record. A later record of an id takes the place of an earlier
// one.
type segment struct {
	run     string // which journal it is of
	at      time.Time
	ended   bool // the journal is not continued
	records []record
}

// A record says what the backend is owed, by the webhook-id of the message.
type record struct {
	id   string
	due  time.Time // when it is to be told; zero: when the socket is gone
	peer realtime.Peer
	data json.RawMessage // a departureData, without a reason while the socket is there; nil: nothing is owed any more
}

type segmentHead struct {
	Version int    `json:"v"`
	Run     string `json:"run"`
	At      int64  `json:"at"` // in milliseconds since 1970, like all times here
	Ended   bool   `json:"ended,omitempty"`
	Records int    `json:"records"`
	Sum     uint32 `json:"sum"` // CRC-32C of all the lines that follow
}

type recordLine struct {
	ID     string          `json:"id"`
	Due    int64           `json:"due,omitempty"`
	IP     string          `json:"ip,omitempty"`
	Host   string          `json:"host,omitempty"`
	Secure bool            `json:"secure,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends a record's line.
func appendRecord(b []byte, r *record) []byte {
	b = append(b, `{"id":"`...)
	b = append(b, r.id...)
	b = append(b, '"')
	if !r.due.IsZero() {
		b = append(b, `,"due":`...)
		b = strconv.AppendInt(b, r.due.UnixMilli(), 10)
	}
	if r.peer.ClientIP != "" {
		b = append(b, `,"ip":`...)
		b = append(b, encode(r.peer.ClientIP)...)
	}
	if r.peer.Host != "" {
		b = append(b, `,"host":`...)
		b = append(b, encode(r.peer.Host)...)
	}
	if r.peer.Secure {
		b = append(b, `,"secure":true`...)
	}
	if r.data != nil { // most of the line, and JSON already: it is not looked through again
		b = append(b, `,"data":`...)
		b = append(b, r.data...)
	}
	return append(b, "}\n"...)
}

// appendLines appends a segment whose n records are lines already.
func (s *segment) appendLines(b, lines []byte, n int) []byte {
	head := segmentHead{segmentVersion, s.run, s.at.UnixMilli(), s.ended, n, crc32.Checksum(lines, castagnoli)}
	b = append(b, encode(head)...)
	b = append(b, '\n')
	return append(b, lines...)
}

// value returns a segment as it is written.
func (s *segment) value() []byte {
	var lines []byte
	for i := range s.records {
		lines = appendRecord(lines, &s.records[i])
	}
	return s.appendLines(nil, lines, len(s.records))
}

// parseSegment reads what was written. It is right as a whole, or not read.
func parseSegment(value []byte) (*segment, error) {
	first, lines, ok := bytes.Cut(value, []byte("\n"))
	if !ok {
		return nil, errors.New("it has no line")
	}
	var head segmentHead
	if err := parseStrictly(first, &head); err != nil {
		return nil, fmt.Errorf("its first line: %w", err)
	}
	switch {
	case head.Version != segmentVersion:
		return nil, fmt.Errorf("it has version %d, and not %d", head.Version, segmentVersion)
	case head.Sum != crc32.Checksum(lines, castagnoli):
		return nil, errors.New("its checksum is wrong")
	case head.Records != bytes.Count(lines, []byte("\n")) || len(lines) > 0 && lines[len(lines)-1] != '\n':
		return nil, fmt.Errorf("it has not the %d records that it should", head.Records)
	}
	s := &segment{run: head.Run, at: time.UnixMilli(head.At), ended: head.Ended}
	for line := range bytes.Lines(lines) {
		r, err := parseRecord(line)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", len(s.records)+1, err)
		}
		s.records = append(s.records, r)
	}
	return s, nil
}

func parseRecord(line []byte) (record, error) {
	var l recordLine
	if err := parseStrictly(line, &l); err != nil {
		return record{}, err
	}
	if !isMessageID(l.ID) {
		return record{}, errors.New("its id is none")
	}
	r := record{id: l.ID, peer: realtime.Peer{ClientIP: l.IP, Host: l.Host, Secure: l.Secure}, data: l.Data}
	if l.Due != 0 {
		r.due = time.UnixMilli(l.Due)
	}
	if r.data == nil {
		return r, nil
	}
	_, err := r.departure()
	return r, err
}

// departure returns what the data of a record says.
func (r *record) departure() (departureData, error) {
	var d departureData
	if err := parseStrictly(r.data, &d); err != nil {
		return d, err
	}
	if _, err := time.Parse(timeFormat, d.Socket.ConnectedAt); err != nil {
		return d, errors.New("it does not say when its socket connected")
	}
	if d.Socket.ID == "" || d.State == nil || (d.Reason == "") != r.due.IsZero() {
		return d, errors.New("it is of no socket")
	}
	return d, nil
}

// parseStrictly reads one JSON value, and wants nothing else to be there.
func parseStrictly(text []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("there is more than one value")
	}
	return nil
}

// isMessageID reports whether an id is as those of requests are: it becomes a
// header.
func isMessageID(id string) bool {
	rest, ok := strings.CutPrefix(id, "msg_")
	return ok && isRandID(rest)
}

// randIDLength is that of what package randid makes.
const randIDLength = 22

func isRandID(id string) bool {
	return len(id) == randIDLength && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}
