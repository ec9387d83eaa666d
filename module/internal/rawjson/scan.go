package rawjson

import (
	"encoding/binary"
	"math/bits"
)

// maxDepth is how deep arrays and objects may be nested. It is the limit of encoding/json, which
// can decode everything that this package accepts.
const maxDepth = 10_000

// Valid reports whether data is exactly one JSON value, which may have white space around it. It
// returns what [encoding/json.Valid] does, in a fraction of the time.
func Valid(data []byte) bool {
	end, ok := scan(data, 0, maxDepth, nil)
	return ok && skipSpace(data, end) == len(data)
}

// scan reads one value at data[i], or after the white space there, and returns the offset after
// the value. The value may have depth levels. If ok is false, end is the offset of the first byte
// that is wrong, or len(data).
//
// A finder, unless it is nil, gets the objects that scan passes.
func scan(data []byte, i, depth int, f *finder) (end int, ok bool) {
	var open nesting
	for {
		// A value begins.
		i = skipSpace(data, i)
		if i == len(data) {
			return i, false
		}
		if f != nil && open.inObject() {
			f.beginValue(i)
		}
		switch data[i] {
		case '"':
			if i, ok = scanString(data, i); !ok {
				return i, false
			}
		case '{':
			if open.depth == depth {
				return i, false
			}
			if f != nil {
				f.beginObject(i)
			}
			open.push(true)
			if i = skipSpace(data, i+1); i == len(data) || data[i] != '}' {
				if i, ok = scanKey(data, i, f); !ok {
					return i, false
				}
				continue
			}
			i++
			open.pop()
			if f != nil {
				f.endObject(i)
			}
		case '[':
			if open.depth == depth {
				return i, false
			}
			open.push(false)
			if i = skipSpace(data, i+1); i == len(data) || data[i] != ']' {
				continue
			}
			i++
			open.pop()
		case 't':
			if i, ok = scanLiteral(data, i, "true"); !ok {
				return i, false
			}
		case 'f':
			if i, ok = scanLiteral(data, i, "false"); !ok {
				return i, false
			}
		case 'n':
			if i, ok = scanLiteral(data, i, "null"); !ok {
				return i, false
			}
		default:
			if i, ok = scanNumber(data, i); !ok {
				return i, false
			}
		}

		// The value has ended, and perhaps also the array or object that it is the last part of.
		for {
			if open.depth == 0 {
				return i, true
			}
			object := open.inObject()
			if f != nil && object {
				f.endValue(i)
			}
			if i = skipSpace(data, i); i == len(data) {
				return i, false
			}
			c := data[i]
			if c == ',' {
				i++
				if object {
					if i, ok = scanKey(data, skipSpace(data, i), f); !ok {
						return i, false
					}
				}
				break
			}
			if object && c != '}' || !object && c != ']' {
				return i, false
			}
			i++
			open.pop()
			if f != nil && object {
				f.endObject(i)
			}
		}
	}
}

// scanKey reads a member's name and colon at data[i].
func scanKey(data []byte, i int, f *finder) (end int, ok bool) {
	if i == len(data) || data[i] != '"' {
		return i, false
	}
	if end, ok = scanString(data, i); !ok {
		return end, false
	}
	if f != nil {
		f.key(data[i+1 : end-1])
	}
	if end = skipSpace(data, end); end == len(data) || data[end] != ':' {
		return end, false
	}
	return end + 1, true
}

// scanString looks at eight bytes at a time. In ones, each byte is 1. In tops, the top bit of
// each byte is set.
const (
	ones = 0x0101_0101_0101_0101
	tops = 0x8080_8080_8080_8080
)

// scanString reads the string whose quote is data[i].
func scanString(data []byte, i int) (end int, ok bool) {
	i++
	for {
		// Clients send mostly text, so this loop takes most of the time. The lowest top bit that
		// is set in stop is that of the first quote, backslash or control character. A borrow
		// may set bits above it wrongly.
		for len(data)-i >= 8 {
			word := binary.LittleEndian.Uint64(data[i:])
			quote, backslash := word^(ones*'"'), word^(ones*'\\')
			stop := (word - ones*' ') & ^word
			stop |= (quote - ones) & ^quote
			stop |= (backslash - ones) & ^backslash
			if stop &= tops; stop != 0 {
				i += bits.TrailingZeros64(stop) / 8
				break
			}
			i += 8
		}
		for ; ; i++ {
			if i == len(data) {
				return i, false
			}
			c := data[i]
			if c == '"' {
				return i + 1, true
			}
			if c == '\\' {
				break
			}
			if c < ' ' {
				return i, false
			}
		}
		if i, ok = scanEscape(data, i); !ok {
			return i, false
		}
	}
}

// scanEscape reads the escape whose backslash is data[i].
func scanEscape(data []byte, i int) (end int, ok bool) {
	i++
	if i == len(data) {
		return i, false
	}
	switch data[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1, true
	case 'u':
		i++
		for range 4 {
			if i == len(data) {
				return i, false
			}
			if _, ok := hexDigit(data[i]); !ok {
				return i, false
			}
			i++
		}
		return i, true
	}
	return i, false
}

// scanNumber reads the number at data[i].
func scanNumber(data []byte, i int) (end int, ok bool) {
	if data[i] == '-' {
		i++
	}
	if i < len(data) && data[i] == '0' {
		i++
	} else if i, ok = scanDigits(data, i); !ok {
		return i, false
	}
	if i < len(data) && data[i] == '.' {
		if i, ok = scanDigits(data, i+1); !ok {
			return i, false
		}
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		if i, ok = scanDigits(data, i); !ok {
			return i, false
		}
	}
	return i, true
}

// scanDigits reads one or more decimal digits at data[i].
func scanDigits(data []byte, i int) (end int, ok bool) {
	begin := i
	for i < len(data) && data[i]-'0' <= 9 {
		i++
	}
	return i, i > begin
}

// scanLiteral reads literal at data[i].
func scanLiteral(data []byte, i int, literal string) (end int, ok bool) {
	for j := range len(literal) {
		if i+j == len(data) || data[i+j] != literal[j] {
			return i + j, false
		}
	}
	return i + len(literal), true
}

// skipSpace returns the offset of the first byte from i on that is not white space, or len(data).
func skipSpace(data []byte, i int) int {
	for i < len(data) && data[i] <= ' ' && (data[i] == ' ' || data[i] == '\t' || data[i] == '\r' || data[i] == '\n') {
		i++
	}
	return i
}

// hexDigit returns the value of a hexadecimal digit.
func hexDigit(c byte) (value rune, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0'), true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return rune(c|0x20-'a') + 10, true
	}
	return 0, false
}
