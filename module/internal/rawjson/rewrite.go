package rawjson

import (
	"bytes"
	"slices"
	"strings"
)

// A pattern says which objects are to be replaced. One member marks such an object.
type pattern struct {
	key     string // the name of the marking member, in ASCII
	first   byte   // the first byte of the marking member's value: 't' for true, '"' for a string
	operand string // the name of the member that the replacement is made from
	alone   bool   // the object must not have members of other names than key
}

// A match is an object that fits a pattern.
type match struct {
	begin, end int // the object
	from, to   int // the raw value of its operand; both 0 if it has none
}

// rewrite returns data with each object that fits p replaced. It replaces the outermost of several
// that are nested. If no object fits, it returns data itself.
//
// replace appends the replacement to dst and returns the result. operand is nil if the object has
// none.
func rewrite(data []byte, p *pattern, replace func(dst, operand []byte) ([]byte, error)) ([]byte, error) {
	if !p.possible(data) {
		return data, nil
	}
	f := finder{data: data, pattern: p, open: make([]frame, 0, 8)}
	if end, ok := scan(data, 0, maxDepth, &f); !ok {
		return nil, &SyntaxError{end}
	} else if end = skipSpace(data, end); end != len(data) {
		return nil, &SyntaxError{end}
	}
	if len(f.found) == 0 {
		return data, nil
	}

	out := make([]byte, 0, len(data)+len(data)/4)
	copied := 0
	for _, m := range f.found {
		out = append(out, data[copied:m.begin]...)
		var operand []byte
		if m.to != 0 {
			operand = data[m.from:m.to:m.to]
		}
		var err error
		if out, err = replace(out, operand); err != nil {
			return nil, err
		}
		copied = m.end
	}
	return append(out, data[copied:]...), nil
}

// possible returns false if data cannot have a match, which is usual and quick to find out: data
// has neither the key, nor a character of the key as \u00 and two digits, which is the only other
// way to write one.
func (p *pattern) possible(data []byte) bool {
	if bytes.Contains(data, []byte(p.key)) {
		return true
	}
	const escape = `\u00`
	for {
		i := bytes.Index(data, []byte(escape))
		if i < 0 || len(data)-i < len(escape)+2 {
			return false
		}
		data = data[i+len(escape):]
		high, _ := hexDigit(data[0])
		low, _ := hexDigit(data[1])
		if strings.ContainsRune(p.key, high<<4|low) {
			return true
		}
	}
}

// A finder collects the outermost matches of a pattern while [scan] walks the data once. Whether an
// object fits is known at its end, since the last of several members with the same name counts. To
// scan again what is inside objects that do not fit would take time quadratic in the depth.
type finder struct {
	data    []byte
	pattern *pattern
	open    []frame // the objects that have not ended, outermost first
	found   []match // in order, none inside another
}

// A frame is what the finder knows of an object that has not ended.
type frame struct {
	begin    int
	value    int // where the value of the current member begins
	from, to int // the last operand

	marking, operand bool // the current member is the marking one, is the operand; it can be both
	marked, others   bool // the object is marked, has a member of another name
}

func (f *finder) beginObject(i int) { f.open = append(f.open, frame{begin: i}) }

func (f *finder) key(raw []byte) {
	top := &f.open[len(f.open)-1]
	top.marking = keyIs(raw, f.pattern.key)
	top.operand = keyIs(raw, f.pattern.operand)
	top.others = top.others || !top.marking
}

func (f *finder) beginValue(i int) { f.open[len(f.open)-1].value = i }

func (f *finder) endValue(i int) {
	top := &f.open[len(f.open)-1]
	if top.marking {
		top.marked = f.data[top.value] == f.pattern.first
	}
	if top.operand {
		top.from, top.to = top.value, i
	}
}

func (f *finder) endObject(i int) {
	top := f.open[len(f.open)-1]
	f.open = f.open[:len(f.open)-1]
	if !top.marked || f.pattern.alone && top.others {
		return
	}
	inner := len(f.found)
	for inner > 0 && f.found[inner-1].begin > top.begin {
		inner--
	}
	f.found = append(slices.Delete(f.found, inner, len(f.found)), match{top.begin, i, top.from, top.to})
}

// keyIs reports whether raw, a member's name without its quotes, is the ASCII string key. The name
// may have escapes.
func keyIs(raw []byte, key string) bool {
	for i := range len(key) {
		c, size := rune(0), 1
		switch {
		case len(raw) == 0:
			return false
		case raw[0] != '\\':
			c = rune(raw[0])
		case raw[1] != 'u':
			return false // no key has a character that a short escape stands for
		default:
			size = 6
			for _, digit := range raw[2:size] {
				value, _ := hexDigit(digit)
				c = c<<4 | value
			}
		}
		if c != rune(key[i]) {
			return false
		}
		raw = raw[size:]
	}
	return len(raw) == 0
}
