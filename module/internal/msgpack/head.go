package msgpack

import (
	"encoding/binary"
	"errors"
	"math"
)

var (
	// ErrInvalid says that data is not MessagePack, or not a value of the expected kind.
	ErrInvalid = errors.New("invalid MessagePack")
	// ErrParts says that data has more binary parts than it may have.
	ErrParts = errors.New("MessagePack has too much binary data")
	// ErrDepth says that data is nested deeper than it may be.
	ErrDepth = errors.New("MessagePack is nested too deep")
)

// maxDepth is how deep arrays and maps may be nested in what [Append] writes. The decoder of
// JavaScript clients recurses, and runs out of stack at a few thousand levels. A message of one
// client must not break the connections of others.
const maxDepth = 1000

// The first bytes of values.
const (
	fixMap   = 0x80
	fixArray = 0x90
	fixStr   = 0xa0
	null     = 0xc0
	falsity  = 0xc2
	truth    = 0xc3
	bin8     = 0xc4
	bin16    = 0xc5
	bin32    = 0xc6
	ext8     = 0xc7
	ext16    = 0xc8
	ext32    = 0xc9
	f32      = 0xca
	f64      = 0xcb
	u8       = 0xcc
	u16      = 0xcd
	u32      = 0xce
	u64      = 0xcf
	i8       = 0xd0
	i16      = 0xd1
	i32      = 0xd2
	i64      = 0xd3
	fixExt1  = 0xd4
	fixExt4  = 0xd6
	fixExt8  = 0xd7
	str8     = 0xd9
	str16    = 0xda
	str32    = 0xdb
	array16  = 0xdc
	array32  = 0xdd
	map16    = 0xde
	map32    = 0xdf
	negative = 0xe0
)

// A kind is the kind of a value.
type kind uint8

const (
	invalid kind = iota
	nilKind
	undefinedKind
	falseKind
	trueKind
	signedKind   // bits are an int64
	unsignedKind // bits are a uint64
	floatKind    // bits are a float64
	dateKind     // bits are an int64: milliseconds since 1970
	stringKind   // bits are the length
	binaryKind   // bits are the length
	arrayKind    // bits are the number of elements
	mapKind      // bits are the number of members
)

// A head is a value without the content of a string, binary data, an array or a map. The data is
// known to be long enough for the content, if each element takes one byte.
type head struct {
	kind kind
	bits uint64
}

// readHead reads the head at data[i] and returns the offset after it. The kind is invalid if
// there is no head.
func readHead(data []byte, i int) (h head, next int) {
	if i >= len(data) {
		return head{}, i
	}
	first := data[i]
	i++
	switch {
	case first < fixMap:
		return head{unsignedKind, uint64(first)}, i
	case first >= negative:
		return head{signedKind, uint64(int8(first))}, i
	case first < fixArray:
		return sized(mapKind, uint64(first-fixMap), data, i)
	case first < fixStr:
		return sized(arrayKind, uint64(first-fixArray), data, i)
	case first < null:
		return sized(stringKind, uint64(first-fixStr), data, i)
	}
	switch first {
	case null:
		return head{kind: nilKind}, i
	case falsity:
		return head{kind: falseKind}, i
	case truth:
		return head{kind: trueKind}, i
	case fixExt1, fixExt4, fixExt8, ext8, ext16, ext32:
		return readExtension(first, data, i)
	}
	layout := layouts[first]
	if layout.width == 0 || len(data)-i < layout.width {
		return head{}, i
	}
	bits := bigEndian(data[i : i+layout.width])
	i += layout.width
	switch layout.kind {
	case signedKind: // extend the sign
		shift := 64 - 8*layout.width
		return head{signedKind, uint64(int64(bits<<shift) >> shift)}, i
	case floatKind:
		if layout.width == 4 {
			bits = math.Float64bits(float64(math.Float32frombits(uint32(bits))))
		}
		return head{floatKind, bits}, i
	case unsignedKind:
		return head{unsignedKind, bits}, i
	}
	return sized(layout.kind, bits, data, i)
}

// layouts has the kinds of heads that are one byte and a number, by that byte, with the width of
// the number.
var layouts = [256]struct {
	kind  kind
	width int
}{
	bin8: {binaryKind, 1}, bin16: {binaryKind, 2}, bin32: {binaryKind, 4},
	f32: {floatKind, 4}, f64: {floatKind, 8},
	u8: {unsignedKind, 1}, u16: {unsignedKind, 2}, u32: {unsignedKind, 4}, u64: {unsignedKind, 8},
	i8: {signedKind, 1}, i16: {signedKind, 2}, i32: {signedKind, 4}, i64: {signedKind, 8},
	str8: {stringKind, 1}, str16: {stringKind, 2}, str32: {stringKind, 4},
	array16: {arrayKind, 2}, array32: {arrayKind, 4},
	map16: {mapKind, 2}, map32: {mapKind, 4},
}

// readExtension reads an extension after its first byte. Those of type -1 are timestamps, as the
// specification says and notepack.io 3 writes them. Those of type 0 are of notepack.io 2.
func readExtension(first byte, data []byte, i int) (h head, next int) {
	width := 0 // of the length
	length := uint64(0)
	switch first {
	case fixExt1:
		length = 1
	case fixExt4:
		length = 4
	case fixExt8:
		length = 8
	case ext8:
		width = 1
	case ext16:
		width = 2
	case ext32:
		width = 4
	}
	if len(data)-i <= width {
		return head{}, i
	}
	if width > 0 {
		length = bigEndian(data[i : i+width])
	}
	kind := data[i+width]
	i += width + 1
	if length > uint64(len(data)-i) {
		return head{}, i
	}
	content := data[i : i+int(length)]
	switch {
	case kind == timestamp:
		return readTimestamp(content), i + int(length)
	case kind != 0:
		return head{}, i
	case first == fixExt1:
		return head{kind: undefinedKind}, i + 1
	case first == fixExt8:
		return head{dateKind, binary.BigEndian.Uint64(content)}, i + 8
	case width > 0: // an ArrayBuffer: Node's encoder writes all binary data so, except Buffers
		return sized(binaryKind, length, data, i)
	}
	return head{}, i
}

// timestamp is the type -1.
const timestamp = 0xff

// readTimestamp reads a timestamp of 32, 64 or 96 bits. Fractions of milliseconds are dropped. The
// kind is invalid if it has another length.
func readTimestamp(content []byte) head {
	var seconds int64
	var nanoseconds uint32
	switch len(content) {
	case 4:
		seconds = int64(binary.BigEndian.Uint32(content))
	case 8:
		both := binary.BigEndian.Uint64(content)
		seconds, nanoseconds = int64(both&(1<<34-1)), uint32(both>>34)
	case 12:
		nanoseconds = binary.BigEndian.Uint32(content)
		seconds = int64(binary.BigEndian.Uint64(content[4:]))
	default:
		return head{}
	}
	if seconds < -maxDate || seconds > maxDate { // milliseconds would overflow
		return head{dateKind, math.MaxInt64}
	}
	return head{dateKind, uint64(seconds*1000 + int64(nanoseconds)/1e6)}
}

// sized returns a head of a length. The kind is invalid if data is too short for the length.
func sized(k kind, length uint64, data []byte, i int) (h head, next int) {
	least := length
	if k == mapKind {
		least *= 2 // at most 1<<33
	}
	if least > uint64(len(data)-i) {
		return head{}, i
	}
	return head{k, length}, i
}

func bigEndian(data []byte) uint64 {
	var bits uint64
	for _, b := range data {
		bits = bits<<8 | uint64(b)
	}
	return bits
}
