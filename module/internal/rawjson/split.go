package rawjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// What [SplitWithin] and [Check] say of JSON that is larger than it may be.
var (
	ErrElements = errors.New("JSON array has too many elements")
	ErrDepth    = errors.New("JSON is nested too deep")
)

// A SyntaxError says that data is not what was asked for. It never quotes data, which is a client's.
type SyntaxError struct {
	Offset int // of the first byte that cannot be; the length of the data where that ended too early
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("invalid JSON at offset %d", e.Offset) }

// Split validates data as exactly one JSON array and returns its elements: parts of data, trimmed of white space, that
// can be appended to without harm to one another. The result of an empty array is empty and not nil.
//
// Anything else, null included, is a [*SyntaxError]. The result takes 24 bytes an element and is as large as it has to be;
// up to 8 elements it is the only allocation.
func Split(data []byte) ([]json.RawMessage, error) { return SplitWithin(data, math.MaxInt, maxDepth-1) }

// SplitWithin is [Split] for an array of at most so many elements, each nested at most so deep. The error of another is
// [ErrElements] or [ErrDepth]; it is found without looking at what follows, which need not be JSON.
func SplitWithin(data []byte, elements, depth int) ([]json.RawMessage, error) {
	var few [8]json.RawMessage
	all, err := appendSplit(few[:0], data, elements, depth)
	if err != nil {
		return nil, err
	}
	return append(make([]json.RawMessage, 0, len(all)), all...), nil
}

// AppendSplit is [Split] into dst. In case of an error it returns dst as it was.
func AppendSplit(dst []json.RawMessage, data []byte) ([]json.RawMessage, error) {
	return appendSplit(dst, data, math.MaxInt, maxDepth-1)
}

func appendSplit(dst []json.RawMessage, data []byte, most, depth int) ([]json.RawMessage, error) {
	elements := dst
	i := skipSpace(data, 0)
	if i == len(data) || data[i] != '[' {
		return dst, &SyntaxError{i}
	}
	i = skipSpace(data, i+1)
	if i < len(data) && data[i] == ']' {
		i++
	} else {
		for more := true; more; i++ {
			if len(elements)-len(dst) == most {
				return dst, ErrElements
			}
			begin := skipSpace(data, i)
			end, ok := scan(data, begin, depth, nil)
			if !ok {
				return dst, failure(data, begin, end, depth)
			}
			elements = append(elements, data[begin:end:end])
			i = skipSpace(data, end)
			if i == len(data) || data[i] != ',' && data[i] != ']' {
				return dst, &SyntaxError{i}
			}
			more = data[i] == ','
		}
	}
	if i = skipSpace(data, i); i != len(data) {
		return dst, &SyntaxError{i}
	}
	return elements, nil
}

// Check returns nil for data that is exactly one JSON value, nested at most so deep. Other errors than [ErrDepth] are a
// [*SyntaxError].
func Check(data []byte, depth int) error {
	end, ok := scan(data, 0, depth, nil)
	if !ok {
		return failure(data, 0, end, depth)
	}
	if end = skipSpace(data, end); end != len(data) {
		return &SyntaxError{end}
	}
	return nil
}

// failure returns why scan has not got beyond end with the value at begin: it is nested too deep where scan gets further
// once it may be deeper, and that is not what encoding/json refuses, too.
func failure(data []byte, begin, end, depth int) error {
	if depth < maxDepth-1 {
		if further, _ := scan(data, begin, depth+1, nil); further > end {
			return ErrDepth
		}
	}
	return &SyntaxError{end}
}
