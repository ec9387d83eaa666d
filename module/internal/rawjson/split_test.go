package rawjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	tests := []struct {
		data     string
		elements []string
	}{
		{`[]`, []string{}},
		{" [\n] ", []string{}},
		{`["message"]`, []string{`"message"`}},
		{"\t[ \"a,]\\\"\" ,\r\n{ \"b\" : [ 1 , 2 ] } , -1.5e+3 , null ]\n", []string{`"a,]\""`, `{ "b" : [ 1 , 2 ] }`, `-1.5e+3`, `null`}},
		{`[1,2,3,4,5,6,7,8,9,10]`, []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}},
	}
	for _, test := range tests {
		elements, err := split([]byte(test.data))
		if err != nil || elements == nil || len(elements) != len(test.elements) || cap(elements) != len(elements) {
			t.Errorf("split(%q) = %q, cap %d, %v", test.data, elements, cap(elements), err)
			continue
		}
		for i, element := range elements {
			if string(element) != test.elements[i] || cap(element) != len(element) {
				t.Errorf("Split(%q)[%d] = %q, cap %d, want %q", test.data, i, element, cap(element), test.elements[i])
			}
		}
	}
}

func TestSplitErrorSaysWhere(t *testing.T) {
	tests := []struct {
		data   string
		offset int
	}{
		{``, 0}, {`  `, 2}, {`null`, 0}, {` {}`, 1}, {`[1,]`, 3}, {`[1`, 2}, {`[1 2]`, 3}, {`[]]`, 2}, {`["a` + "\n" + `"]`, 3}, {`[tru3]`, 4}, {`["\u12x4"]`, 6},
		{`[{"a":1,}]`, 8}, {`[1}`, 2}, {strings.Repeat("[", 10001), 10000},
	}
	for _, test := range tests {
		before := []json.RawMessage{json.RawMessage("1")}
		after, err := appendTo(before, []byte(test.data))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.Offset != test.offset {
			t.Errorf("AppendSplit(%.20q): %v, want offset %d", test.data, err, test.offset)
		}
		if len(after) != 1 {
			t.Errorf("AppendSplit(%.20q) returned %q with its error", test.data, after)
		}
		if elements, err := split([]byte(test.data)); err == nil || elements != nil {
			t.Errorf("split(%.20q) = %q, %v", test.data, elements, err)
		}
	}
}

// TestWithin: an array with one element too many, or nested one level too deep, has another
// error than data that is not JSON.
func TestWithin(t *testing.T) {
	const most, depth = 3, 4
	deep := func(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }
	objects := func(levels int) string { return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels) }
	for data, want := range map[string]error{
		`[1,2,3]`:                     nil,
		`[]`:                          nil,
		`[1,2,3,4]`:                   ErrElements,
		`[1,2,3,`:                     ErrElements,
		`[` + deep(4) + `]`:           nil,
		`[` + deep(5) + `]`:           ErrDepth,
		`[1,` + objects(4) + `]`:      nil,
		`[1,` + objects(5) + `]`:      ErrDepth,
		`[[[[[[`:                      ErrDepth,
		`[` + deep(7000) + `]`:        ErrDepth,
		`[[{"a":[{"b":"[[[[[["}]}]]`:  nil,
		`[[{"a":[{"b":[ ]}]}]]`:       ErrDepth,
		`[{"a":[1,2,3,4,5]},[[]],{}]`: nil,
	} {
		elements, err := Split([]byte(data), most, depth)
		if !errors.Is(err, want) || err == nil && elements == nil {
			t.Errorf("Split(%.40q) = %q, %v, want %v", data, elements, err, want)
		}
	}
	for _, data := range []string{`[{[]}]`, `[[[{[]`, `[{"a"[`, `[1[`, `[[[[1[`, `x`, `[]]`, `[1,2,]`} {
		var syntax *SyntaxError
		if _, err := Split([]byte(data), most, depth); !errors.As(err, &syntax) {
			t.Errorf("Split(%q): %v, want a syntax error", data, err)
		}
		if err := Check([]byte(data), 10); !errors.As(err, &syntax) {
			t.Errorf("Check(%q): %v, want a syntax error", data, err)
		}
	}
	for data, want := range map[string]error{deep(4): nil, deep(5): ErrDepth, objects(4): nil, objects(5): ErrDepth, " 1 ": nil, `"[[[[["`: nil} {
		if err := Check([]byte(data), depth); !errors.Is(err, want) {
			t.Errorf("Check(%q): %v, want %v", data, err, want)
		}
	}
}

func TestAppendSplit(t *testing.T) {
	elements := []json.RawMessage{json.RawMessage(`"kept"`)}
	elements, err := appendTo(elements, []byte(`[1,2]`))
	if got := bytes.Join([][]byte{elements[0], elements[1], elements[2]}, []byte(" ")); err != nil || string(got) != `"kept" 1 2` {
		t.Errorf("AppendSplit = %q, %v", elements, err)
	}
}

func TestSplitAllocatesItsResultOnly(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { _, _ = split(record) }); n != 1 {
		t.Errorf("Split allocates %v times", n)
	}
	dst := make([]json.RawMessage, 0, 4)
	if n := testing.AllocsPerRun(100, func() { _, _ = appendTo(dst, record) }); n != 0 {
		t.Errorf("AppendSplit allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { Valid(record) }); n != 0 {
		t.Errorf("Valid allocates %v times", n)
	}
}

// No input may take much more memory than its own size.
func TestMemoryIsEarned(t *testing.T) {
	replace := func(dst []byte, num json.RawMessage) ([]byte, error) { return append(dst, '0'), nil }
	all := func(data []byte) {
		Valid(data)
		_, _ = split(data)
		_, _ = Split(data, 256, 128)
		_, _ = Placeholders(data, replace)
		_, _ = Binaries(data, replace)
	}
	for _, data := range []string{
		strings.Repeat("[", 100_000),
		strings.Repeat(`{"":`, 100_000),
		strings.Repeat(`{"_placeholder":`, 10_000),
		strings.Repeat(`{"$binary":`, 10_000),
		strings.Repeat(`{"_placeholder":true,"num":`, 10_000) + "1" + strings.Repeat("}", 10_000),
		`["_placeholder","$binary",` + strings.Repeat(`{"":`, 9_000) + "1" + strings.Repeat("}", 9_000) + "]",
		"[" + strings.Repeat("0,", 100_000) + "0]",
		"[" + strings.Repeat(`{"_placeholder":true},`, 10_000) + "0]",
		"[" + strings.Repeat(`{"$binary":""},`, 10_000) + "0]",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		all([]byte(data))
		runtime.ReadMemStats(&after)
		// This includes what append discards as it grows.
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > uint64(120*len(data)) {
			t.Errorf("%.30s…, %d bytes: %d bytes allocated", data, len(data), allocated)
		} else {
			t.Logf("%.30s…, %d bytes: %.1f bytes allocated for each", data, len(data), float64(allocated)/float64(len(data)))
		}
	}
}

func TestSplitAgreesWithEncodingJSON(t *testing.T) {
	for _, sample := range slices.Concat(samples, deep) {
		compareSplit(t, []byte(sample))
	}
}

func FuzzSplit(f *testing.F) {
	for _, sample := range samples {
		f.Add([]byte(sample))
	}
	f.Add(small)
	f.Add(record)
	f.Fuzz(compareSplit)
}

// compareSplit compares split with encoding/json.
func compareSplit(t *testing.T, data []byte) {
	input := bytes.Clone(data)
	got, err := split(data)
	if !bytes.Equal(data, input) {
		t.Fatal("Split modified its input")
	}
	var want []json.RawMessage
	wantErr := json.Unmarshal(data, &want)
	if wantErr == nil && want == nil {
		wantErr = errors.New("null") // which Unmarshal accepts for a slice
	}
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("Split(%q): %v, want %v", data, err, wantErr)
	}
	if len(got) != len(want) {
		t.Fatalf("split(%q) = %q, want %q", data, got, want)
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("Split(%q)[%d] = %q, want %q", data, i, got[i], want[i])
		}
	}
	compareWithin(t, data, got, err)
	var syntax *SyntaxError
	if err != nil && (!errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(data)) {
		t.Fatalf("Split(%q): %v", data, err)
	}
}

// compareWithin compares Split and Check with what split returns for data.
func compareWithin(t *testing.T, data []byte, elements []json.RawMessage, splitErr error) {
	const most, depth = 3, 4
	tooDeep := slices.ContainsFunc(elements, func(e json.RawMessage) bool { return depthOf(e) > depth })
	got, err := Split(data, most, depth)
	switch {
	case err == nil:
		if splitErr != nil || tooDeep || len(elements) > most || len(got) != len(elements) {
			t.Fatalf("Split(%.100q) = %.100q, but split = %.100q, %v", data, got, elements, splitErr)
		}
	case splitErr == nil && !tooDeep && len(elements) <= most:
		t.Fatalf("Split(%.100q): %v", data, err)
	case splitErr == nil && errors.Is(err, ErrDepth) && !tooDeep, splitErr == nil && errors.Is(err, ErrElements) && len(elements) <= most:
		t.Fatalf("Split(%.100q): %v, and it has %d elements", data, err, len(elements))
	}
	for _, element := range elements[:min(len(elements), 10)] {
		if err := Check(element, depth); (err == nil) == (depthOf(element) > depth) {
			t.Fatalf("Check(%.100q): %v", element, err)
		}
	}
}

// depthOf returns how deep valid JSON is nested.
func depthOf(data []byte) (deepest int) {
	d := json.NewDecoder(bytes.NewReader(data))
	for depth := 0; ; {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			depth++
			deepest = max(deepest, depth)
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
	}
}

// split is Split without limits.
func split(data []byte) ([]json.RawMessage, error) { return Split(data, math.MaxInt, maxDepth-1) }

// appendTo is AppendSplit without limits.
func appendTo(dst []json.RawMessage, data []byte) ([]json.RawMessage, error) {
	return AppendSplit(dst, data, math.MaxInt, maxDepth-1)
}
