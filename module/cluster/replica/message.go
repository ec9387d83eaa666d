package replica

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
)

// The kinds of messages and requests, after Options.Kind. The kind of an update is Options.Kind.
const (
	kindDigests = ".digests" // asks for the digests of all buckets
	kindBuckets = ".buckets" // asks for some buckets
	kindLoss    = ".loss"    // says who acts for a node that is lost
	kindTaken   = ".taken"   // tells a node that is back what was done for it
)

// An update begins what a node sends of its table. Entries follow.
type update struct {
	// Sequence numbers the updates of an incarnation.
	Sequence uint64 `json:"seq"`
	// Count and Digest are of the whole table, with the entries that follow.
	Count  int    `json:"count"`
	Digest uint64 `json:"digest"`
	// Holders are the nodes that have copies. The first that lives acts if the node is lost. There
	// are none if all nodes have copies.
	Holders []string `json:"holders,omitempty"`
}

// An answer begins what a node answers. Digests follow, or buckets.
type answer struct {
	Sequence uint64 `json:"seq"` // of the last update before it
}

// A lossMessage says who acts for a lost node: the sender.
type lossMessage struct {
	Node        string `json:"node"`
	Incarnation string `json:"incarnation"`
	Done        bool   `json:"done,omitempty"` // it has taken everything over; otherwise it has begun
}

const (
	// maxPiece is about how many bytes of entries a message has.
	maxPiece = 128 << 10
	// maxFetch is about how many bytes of buckets an answer has.
	maxFetch = 1 << 20

	// maxHead is how many bytes the beginning of a message may have.
	maxHead = 8 << 10
)

// encodeHead returns the beginning of a message: a line of JSON, to which the rest is appended.
func encodeHead(head any) []byte {
	text, _ := json.Marshal(head) // cannot fail
	return append(text, '\n')
}

var errNoHead = errors.New("it has no beginning")

// decodeHead reads the beginning of a message, and returns what follows it.
func decodeHead(body []byte, head any) (rest []byte, err error) {
	end := bytes.IndexByte(body[:min(len(body), maxHead)], '\n')
	if end < 0 {
		return nil, errNoHead
	}
	return body[end+1:], json.Unmarshal(body[:end], head)
}

// appendDigests appends the digests of all buckets.
func appendDigests(b []byte, digest func(bucket int) uint64) []byte {
	for i := range buckets {
		b = binary.BigEndian.AppendUint64(b, digest(i))
	}
	return b
}

var errDigests = errors.New("it does not have all digests")

// readDigests returns the digests of all buckets.
func readDigests(b []byte) (digests [buckets]uint64, err error) {
	if len(b) != 8*buckets {
		return digests, errDigests
	}
	for i := range digests {
		digests[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return digests, nil
}

// appendBucket appends a bucket: its number, and its entries with their length before them.
func appendBucket(b []byte, bucket int, entries []byte) []byte {
	b = binary.AppendUvarint(append(b, byte(bucket)), uint64(len(entries)))
	return append(b, entries...)
}

// readBucket returns the first bucket, and what follows it.
func readBucket(b []byte) (bucket int, entries, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, nil, errEntry
	}
	entries, rest, err = readText(b[1:], 0)
	return int(b[0]), entries, rest, err
}
