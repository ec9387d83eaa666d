package msgpack

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// AppendJSON appends the first value in data to dst as JSON, and returns its binary parts and the
// rest of data. The value may have maxParts parts, and be nested so deep. The error is
// [ErrInvalid], [ErrParts] or [ErrDepth].
//
// Values that JSON does not have become what JSON.stringify writes: NaN and infinities are null,
// undefined is null, or is left out if it is a member, and a date is its text in ISO 8601.
// Numbers keep their value: 64-bit integers have all digits, floats as few as possible. Strings
// must be UTF-8, and the keys of maps must be such strings.
//
// If there are parts, a map that looks like a placeholder becomes null, since it could be taken for
// one.
func AppendJSON(dst, data []byte, maxParts, depth int) (text json.RawMessage, parts [][]byte, rest []byte, err error) {
	begin := len(dst)
	w := jsonWriter{data: data, dst: dst, maxParts: maxParts, depth: depth}
	end, err := w.value()
	if err == nil && w.ambiguous && len(w.parts) > 0 {
		w = jsonWriter{data: data, dst: w.dst[:begin], maxParts: maxParts, depth: depth, unmask: true}
		end, err = w.value()
	}
	if err != nil {
		return nil, nil, nil, err
	}
	return w.dst, w.parts, data[end:], nil
}

// A jsonWriter writes one value as JSON.
type jsonWriter struct {
	data     []byte
	dst      []byte
	parts    [][]byte
	maxParts int
	depth    int         // the maximum of open
	open     []container // outermost first

	ambiguous bool // there is a map that looks like a placeholder
	unmask    bool // such a map becomes null
}

// A container is an array or a map that has not ended.
type container struct {
	left    uint64 // elements, or members, that follow
	begin   int    // where it is in dst
	parts   int    // how many parts there are before it
	isMap   bool
	written bool // it has an element or member
	marking bool // the key of the current member is mark
	marked  bool // its last member of that key is true
}

// mark is the key by which a map looks like a placeholder.
const mark = "_placeholder"

// value writes the value that data begins with and returns the offset after it.
func (w *jsonWriter) value() (end int, err error) {
	i := 0
	for {
		h, next := readHead(w.data, i)
		i = next
		if n := len(w.open); n > 0 && w.open[n-1].marking {
			w.open[n-1].marked = h.kind == trueKind
		}
		switch h.kind {
		case invalid:
			return i, ErrInvalid
		case arrayKind, mapKind:
			if len(w.open) == w.depth {
				return i, ErrDepth
			}
			w.begin(h)
		case stringKind:
			end := i + int(h.bits)
			if !w.string(w.data[i:end]) {
				return i, ErrInvalid
			}
			i = end
		case binaryKind:
			end := i + int(h.bits)
			if len(w.parts) == w.maxParts {
				return i, ErrParts
			}
			w.dst = rawjson.AppendPlaceholder(w.dst, len(w.parts))
			w.parts = append(w.parts, w.data[i:end:end])
			i = end
		default:
			w.scalar(h)
		}
		var ok bool
		if i, ok = w.advance(i); !ok {
			return i, ErrInvalid
		}
		if len(w.open) == 0 {
			return i, nil
		}
	}
}

func (w *jsonWriter) begin(h head) {
	w.open = append(w.open, container{left: h.bits, begin: len(w.dst), parts: len(w.parts), isMap: h.kind == mapKind})
	bracket := byte('[')
	if h.kind == mapKind {
		bracket = '{'
	}
	w.dst = append(w.dst, bracket)
}

// advance writes what stands between two values: the ends of containers, a comma, a key.
func (w *jsonWriter) advance(i int) (next int, ok bool) {
	for len(w.open) > 0 {
		top := &w.open[len(w.open)-1]
		if top.left == 0 {
			w.end(top)
			continue
		}
		top.left--
		if !top.isMap {
			w.comma(top)
			return i, true
		}
		key, behind := readHead(w.data, i)
		if key.kind != stringKind {
			return i, false
		}
		text := w.data[behind : behind+int(key.bits)]
		i = behind + len(text)
		if value, after := readHead(w.data, i); value.kind == undefinedKind {
			i = after
			if !utf8.Valid(text) {
				return i, false
			}
			continue
		}
		w.comma(top)
		if !w.string(text) {
			return i, false
		}
		w.dst = append(w.dst, ':')
		top.marking = string(text) == mark
		return i, true
	}
	return i, true
}

func (w *jsonWriter) comma(c *container) {
	if c.written {
		w.dst = append(w.dst, ',')
	}
	c.written = true
}

func (w *jsonWriter) end(c *container) {
	switch {
	case !c.isMap:
		w.dst = append(w.dst, ']')
	case c.marked && w.unmask:
		w.dst = append(w.dst[:c.begin], "null"...)
		w.parts = w.parts[:c.parts]
	default:
		w.dst = append(w.dst, '}')
		w.ambiguous = w.ambiguous || c.marked
	}
	w.open = w.open[:len(w.open)-1]
}

func (w *jsonWriter) scalar(h head) {
	switch h.kind {
	case nilKind, undefinedKind:
		w.dst = append(w.dst, "null"...)
	case falseKind:
		w.dst = append(w.dst, "false"...)
	case trueKind:
		w.dst = append(w.dst, "true"...)
	case unsignedKind:
		w.dst = strconv.AppendUint(w.dst, h.bits, 10)
	case signedKind:
		w.dst = strconv.AppendInt(w.dst, int64(h.bits), 10)
	case floatKind:
		w.dst = appendFloatText(w.dst, math.Float64frombits(h.bits))
	case dateKind:
		w.dst = appendDate(w.dst, int64(h.bits))
	}
}

// string writes a string with the escapes of JSON.stringify. It returns false if the text is not
// UTF-8.
func (w *jsonWriter) string(text []byte) (ok bool) {
	if !utf8.Valid(text) {
		return false
	}
	w.dst = append(w.dst, '"')
	copied := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		w.dst = append(w.dst, text[copied:i]...)
		copied = i + 1
		switch c {
		case '"', '\\':
			w.dst = append(w.dst, '\\', c)
		case '\b':
			w.dst = append(w.dst, `\b`...)
		case '\f':
			w.dst = append(w.dst, `\f`...)
		case '\n':
			w.dst = append(w.dst, `\n`...)
		case '\r':
			w.dst = append(w.dst, `\r`...)
		case '\t':
			w.dst = append(w.dst, `\t`...)
		default:
			const digits = "0123456789abcdef"
			w.dst = append(w.dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	w.dst = append(append(w.dst, text[copied:]...), '"')
	return true
}

// appendFloatText writes a number as JavaScript does.
func appendFloatText(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	format := byte('f')
	if size := math.Abs(f); size != 0 && (size < 1e-6 || size >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if n := len(dst); format == 'e' && dst[n-4] == 'e' && dst[n-2] == '0' { // Go writes at least two digits
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// maxDate is the maximum distance of a JavaScript date from 1970, in milliseconds.
const maxDate = 8_640_000_000_000_000

// appendDate writes a date as its toJSON does.
func appendDate(dst []byte, milliseconds int64) []byte {
	if milliseconds < -maxDate || milliseconds > maxDate {
		return append(dst, "null"...) // Invalid Date
	}
	t := time.UnixMilli(milliseconds).UTC()
	dst = append(dst, '"')
	switch year := t.Year(); {
	case year < 0:
		dst = appendYear(append(dst, '-'), -year, 6)
	case year > 9999:
		dst = appendYear(append(dst, '+'), year, 6)
	default:
		dst = appendYear(dst, year, 4)
	}
	return t.AppendFormat(dst, `-01-02T15:04:05.000Z"`)
}

func appendYear(dst []byte, year, digits int) []byte {
	text := strconv.Itoa(year)
	for range digits - len(text) {
		dst = append(dst, '0')
	}
	return append(dst, text...)
}
