package replica

import (
	"encoding/binary"
	"errors"
)

// A Codec writes keys and values for other nodes, and reads what others have written.
type Codec[K comparable, V any] interface {
	// AppendKey appends a key. Different keys must differ in what is appended.
	AppendKey(b []byte, key K) []byte
	// ReadKey returns the key, which is all of text. It must keep nothing of text.
	ReadKey(text []byte) (K, error)
	// AppendValue appends a value as Options.Append does.
	AppendValue(b []byte, value V) []byte
	// ReadValue returns the value, which is all of text. It must keep nothing of text.
	ReadValue(text []byte) (V, error)
	// Size returns about how many bytes a copy needs for both.
	Size(key K, value V) int
}

// An entry is a key as it travels, with its value or without.
type entry struct {
	key, value []byte
	gone       bool // there is no value any more
}

// append appends the entry: the key and the value, each with its length before it. For a key that is
// gone, the length is 0, and otherwise one more than that of the value.
func (e entry) append(b []byte) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(e.key))), e.key...)
	if e.gone {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(e.value))+1), e.value...)
}

var errEntry = errors.New("it has an entry that is not complete")

// readEntry returns the first entry, which shares the memory of b, and what follows it.
func readEntry(b []byte) (e entry, rest []byte, err error) {
	if e.key, b, err = readText(b, 0); err != nil {
		return e, nil, err
	}
	if len(b) > 0 && b[0] == 0 {
		e.gone = true
		return e, b[1:], nil
	}
	e.value, b, err = readText(b, 1)
	return e, b, err
}

// readText reads a text behind its length, to which something has been added.
func readText(b []byte, added uint64) (text, rest []byte, err error) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length < added || length-added > uint64(len(b)-n) {
		return nil, nil, errEntry
	}
	end := n + int(length-added)
	return b[n:end:end], b[end:], nil
}

// buckets is how many parts a table has. Where two digests differ, only those parts are sent whose
// own ones do. All nodes must agree on it.
const buckets = 256

// bucketOf returns the part of a table that has a key.
func bucketOf(key []byte) int {
	sum := fnv(fnvOffset, key)
	return int((sum ^ sum>>32) % buckets)
}

// sumOf returns the digest of one entry. That of a table is the exclusive or of all. It finds what
// was lost. It keeps nobody from deceiving: whoever could would as well send wrong entries.
func sumOf(key, value []byte) uint64 {
	sum := fnv(fnvOffset, key) * fnvPrime
	sum = fnv(sum, value)
	sum ^= sum >> 29 // FNV-1a barely mixes the upper bits of the last bytes
	return sum * 0x9e3779b97f4a7c15
}

const (
	fnvOffset = 0xcbf29ce484222325
	fnvPrime  = 0x100000001b3
)

// fnv adds a text to a hash, which is FNV-1a with 64 bits. All nodes must agree on it.
func fnv(sum uint64, text []byte) uint64 {
	for _, c := range text {
		sum = (sum ^ uint64(c)) * fnvPrime
	}
	return sum
}
