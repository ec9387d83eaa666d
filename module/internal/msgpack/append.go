package msgpack

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// Append appends JSON with binary parts to dst as MessagePack. It is the inverse of [AppendJSON].
//
// Integers from -1<<63 to 1<<64-1 stay integers. Other numbers become the float64 that JSON.parse
// returns, so 1e400 is infinite. MessagePack has only UTF-8, so other bytes and halves of surrogate
// pairs become U+FFFD. If there are parts, a placeholder that stands for none of them becomes null.
// JSON that is not valid, or nested too deep for clients, becomes null as a whole.
//
// The JSON may have any number of placeholders for one part. A part that would make dst longer than
// limit becomes null.
func Append(dst []byte, text json.RawMessage, parts [][]byte, limit int) []byte {
	if !rawjson.Valid(text) {
		return append(dst, null)
	}
	if len(parts) > 0 {
		text = markParts(text, len(parts))
	}
	var few [16]uint32
	sizes, ok := appendSizes(few[:0], text)
	if !ok {
		return append(dst, null)
	}
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '[':
			dst = AppendArray(dst, int(sizes[0]))
			sizes = sizes[1:]
			i++
		case '{':
			dst = AppendMap(dst, int(sizes[0]))
			sizes = sizes[1:]
			i++
		case ']', '}', ',', ':', ' ', '\t', '\r', '\n':
			i++
		case '"':
			end := stringEnd(text, i)
			dst = appendStringText(dst, text[i:end])
			i = end
		case partMark:
			end := tokenEnd(text, i)
			n, _ := strconv.Atoi(string(text[i+1 : end]))
			if len(dst)+len(parts[n]) > limit {
				dst = append(dst, null)
			} else {
				dst = appendBinary(dst, parts[n])
			}
			i = end
		default:
			end := tokenEnd(text, i)
			dst = appendToken(dst, text[i:end])
			i = end
		}
	}
	return dst
}

// partMark stands before the number of a part, in text that is otherwise JSON. JSON never has
// this byte.
const partMark = 1

// markParts replaces the placeholders in valid JSON with a partMark and a number.
func markParts(text json.RawMessage, parts int) json.RawMessage {
	marked, err := rawjson.Placeholders(text, func(dst []byte, num json.RawMessage) ([]byte, error) {
		n, ok := rawjson.Index(num, parts)
		if !ok {
			return append(dst, "null"...), nil
		}
		return strconv.AppendInt(append(dst, partMark), int64(n), 10), nil
	})
	if err != nil {
		panic(err) // the JSON is valid, and the function returns no error
	}
	return marked
}

// appendSizes appends the sizes of all arrays and objects in valid JSON, in the order in which they
// begin: MessagePack has the size first. It returns false if they are nested too deep.
func appendSizes(sizes []uint32, text []byte) (all []uint32, ok bool) {
	var few [16]int
	open := few[:0] // the indices in sizes of those that have not ended
	for i := 0; i < len(text); {
		switch text[i] {
		case '"':
			i = stringEnd(text, i)
			continue
		case '[', '{':
			if len(open) == maxDepth {
				return nil, false
			}
			open = append(open, len(sizes))
			size := uint32(1)
			for i++; isSpace(text[i]); i++ {
			}
			if text[i] == ']' || text[i] == '}' {
				size = 0
			}
			sizes = append(sizes, size)
			continue
		case ']', '}':
			open = open[:len(open)-1]
		case ',':
			sizes[open[len(open)-1]]++
		}
		i++
	}
	return sizes, true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// stringEnd returns the offset after the string whose quote is text[i].
func stringEnd(text []byte, i int) int {
	for i++; ; i++ {
		i += bytes.IndexByte(text[i:], '"')
		backslashes := 0
		for text[i-1-backslashes] == '\\' {
			backslashes++
		}
		if backslashes%2 == 0 {
			return i + 1
		}
	}
}

// tokenEnd returns the offset after the number or literal that begins at text[i].
func tokenEnd(text []byte, i int) int {
	for i++; i < len(text) && text[i] != ',' && text[i] != ']' && text[i] != '}' && !isSpace(text[i]); i++ {
	}
	return i
}

// appendStringText appends a JSON string, which has its quotes.
func appendStringText(dst, quoted []byte) []byte {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return append(appendStringHead(dst, len(inner)), inner...)
	}
	text, _ := rawjson.Unquote(quoted)
	return append(appendStringHead(dst, len(text)), text...)
}

// appendToken appends a number or a literal.
func appendToken(dst, token []byte) []byte {
	switch token[0] {
	case 'n':
		return append(dst, null)
	case 'f':
		return append(dst, falsity)
	case 't':
		return append(dst, truth)
	}
	number := string(token)
	if !strings.ContainsAny(number, ".eE") && number != "-0" {
		if value, err := strconv.ParseUint(number, 10, 64); err == nil {
			return AppendUint(dst, value)
		}
		if value, err := strconv.ParseInt(number, 10, 64); err == nil {
			return appendNegative(dst, value)
		}
	}
	value, _ := strconv.ParseFloat(number, 64) // infinite if it is too large, as in JavaScript
	return binary.BigEndian.AppendUint64(append(dst, f64), math.Float64bits(value))
}

// AppendMap appends the head of a map. The members must follow.
func AppendMap(dst []byte, members int) []byte {
	if members < 16 {
		return append(dst, fixMap|byte(members))
	}
	return appendSize(dst, members, 0, map16, map32)
}

// AppendArray appends the head of an array. The elements must follow.
func AppendArray(dst []byte, elements int) []byte {
	if elements < 16 {
		return append(dst, fixArray|byte(elements))
	}
	return appendSize(dst, elements, 0, array16, array32)
}

// AppendString appends a string. Bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, text string) []byte {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	return append(appendStringHead(dst, len(text)), text...)
}

func appendStringHead(dst []byte, length int) []byte {
	if length < 32 {
		return append(dst, fixStr|byte(length))
	}
	return appendSize(dst, length, str8, str16, str32)
}

func appendBinary(dst, data []byte) []byte {
	return append(appendSize(dst, len(data), bin8, bin16, bin32), data...)
}

// appendSize appends a size, after the first byte for its width: one, two or four bytes. There is
// no size of one byte if one is 0.
func appendSize(dst []byte, size int, one, two, four byte) []byte {
	switch {
	case size < 1<<8 && one != 0:
		return append(dst, one, byte(size))
	case size < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, two), uint16(size))
	}
	return binary.BigEndian.AppendUint32(append(dst, four), uint32(size))
}

// AppendUint appends an integer in as few bytes as possible.
func AppendUint(dst []byte, value uint64) []byte {
	switch {
	case value < fixMap:
		return append(dst, byte(value))
	case value < 1<<8:
		return append(dst, u8, byte(value))
	case value < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, u16), uint16(value))
	case value < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, u32), uint32(value))
	}
	return binary.BigEndian.AppendUint64(append(dst, u64), value)
}

// appendNegative appends an integer below 0.
func appendNegative(dst []byte, value int64) []byte {
	switch {
	case value >= -32:
		return append(dst, byte(value))
	case value >= math.MinInt8:
		return append(dst, i8, byte(value))
	case value >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(dst, i16), uint16(value))
	case value >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(dst, i32), uint32(value))
	}
	return binary.BigEndian.AppendUint64(append(dst, i64), uint64(value))
}
