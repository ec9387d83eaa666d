package rawjson

import (
	"encoding/json"
	"errors"
	"fmt"
)

// The errors of [Split] and [Check] for JSON that exceeds a limit.
var (
	ErrElements = errors.New("JSON array has too many elements")
	ErrDepth    = errors.New("JSON is nested too deep")
)

// A SyntaxError says that data is not valid JSON, or not an array where one is expected. It does
// not quote the data, which comes from a client.
type SyntaxError struct {
	Offset int // of the first byte that is wrong; the length of the data if that ends too early
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("invalid JSON at offset %d", e.Offset) }

// Split returns the elements of data, which must be exactly one valid JSON array, of limited size:
// so many elements at most, each nested at most so deep. The elements are parts of data without
// white space around them, with no capacity beyond their end. For an empty array, the result is
// empty and not nil.
//
// For other data, also for null, the error is a [*SyntaxError]. For a larger array, it is
// [ErrElements] or [ErrDepth], whether or not the rest is valid.
//
// The result takes 24 bytes for each element. It is the only allocation for up to 8 elements.
func Split(data []byte, elements, depth int) ([]json.RawMessage, error) {
	var few [8]json.RawMessage
	all, err := AppendSplit(few[:0], data, elements, depth)
	if err != nil {
		return nil, err
	}
	return append(make([]json.RawMessage, 0, len(all)), all...), nil
}

// AppendSplit is Split into dst. If there is an error, it returns dst as it was.
func AppendSplit(dst []json.RawMessage, data []byte, most, depth int) ([]json.RawMessage, error) {
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

// Check returns nil if data is exactly one valid JSON value, nested at most so deep. The error is
// [ErrDepth] or a [*SyntaxError].
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

// failure returns why scan stopped at end in the value at begin. The value is nested too deep if
// scan gets further with one more level. A value that encoding/json does not accept either is not
// valid.
func failure(data []byte, begin, end, depth int) error {
	if depth < maxDepth-1 {
		if further, _ := scan(data, begin, depth+1, nil); further > end {
			return ErrDepth
		}
	}
	return &SyntaxError{end}
}
