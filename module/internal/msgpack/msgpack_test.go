package msgpack

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

const maxParts = 10

// toJSON reads exactly one value.
func toJSON(data []byte) (text string, parts [][]byte, err error) {
	got, parts, rest, err := AppendJSON(nil, data, maxParts, maxDepth)
	if err == nil && len(rest) > 0 {
		err = ErrInvalid
	}
	return string(got), parts, err
}

func unhex(t testing.TB, digits string) []byte {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// values are what notepack.io and JSON.stringify write for the same values.
var values = map[string]string{
	"c0": `null`, "c2": `false`, "c3": `true`,
	"00": `0`, "7f": `127`, "cc80": `128`, "ccff": `255`, "cd0100": `256`, "cdffff": `65535`,
	"ce00010000": `65536`, "ceffffffff": `4294967295`, "cf0000000100000000": `4294967296`,
	"cf001fffffffffffff": `9007199254740991`, "cfffffffffffffffff": `18446744073709551615`,
	"ff": `-1`, "e0": `-32`, "d0df": `-33`, "d080": `-128`, "d1ff7f": `-129`, "d18000": `-32768`,
	"d2ffff7fff": `-32769`, "d280000000": `-2147483648`, "d3ffffffff7fffffff": `-2147483649`,
	"d38000000000000000": `-9223372036854775808`,
	"cb3fb999999999999a": `0.1`, "cbbff8000000000000": `-1.5`, "cb0000000000000001": `5e-324`,
	"cb7fefffffffffffff": `1.7976931348623157e+308`, "cb3e7ad7f29abcaf48": `1e-7`, "cb444b1ae4d6e2ef50": `1e+21`,
	"cb4415af1d78b58c40": `100000000000000000000`, "cb8000000000000000": `-0`,
	"a0": `""`, "a161": `"a"`, "a3e282ac": `"€"`, "a4f09f9880": `"😀"`,
	"a8 22 5c 0a 0d 09 08 0c 1f":               `"\"\\\n\r\t\b\f\u001f"`,
	"d920" + strings.Repeat("61", 32):          `"` + strings.Repeat("a", 32) + `"`,
	"da0100" + strings.Repeat("61", 256):       `"` + strings.Repeat("a", 256) + `"`,
	"db00010000" + strings.Repeat("61", 65536): `"` + strings.Repeat("a", 65536) + `"`,
	"90": `[]`, "93 01 a161 c0": `[1,"a",null]`, "91 91 80": `[[{}]]`,
	"dc0010" + strings.Repeat("00", 16):        `[` + strings.Repeat("0,", 15) + `0]`,
	"dd00010000" + strings.Repeat("00", 65536): `[` + strings.Repeat("0,", 65535) + `0]`,
	"82 a162 01 a161 02":                       `{"b":1,"a":2}`,
	"81 a0 81 a161 90":                         `{"":{"a":[]}}`,
	"de0010" + strings.Repeat("a16b00", 16):    `{` + strings.Repeat(`"k":0,`, 15) + `"k":0}`,
	// without parts, this is only an object
	"82 ac5f706c616365686f6c646572 c3 a36e756d 00": `{"_placeholder":true,"num":0}`,
}

func TestValues(t *testing.T) {
	for digits, want := range values {
		data := unhex(t, digits)
		if text, parts, err := toJSON(data); text != want || parts != nil || err != nil {
			t.Errorf("%.40s is %.100s %x, %v; want %.100s", digits, text, parts, err, want)
		}
		if got := Append(nil, json.RawMessage(want), nil, math.MaxInt); !bytes.Equal(got, data) {
			t.Errorf("%.100s is %.40x; want %.40s", want, got, digits)
		}
		if rest, err := Skip(append(data, 0xc1)); err != nil || len(rest) != 1 {
			t.Errorf("%.40s is skipped up to %x, %v", digits, rest, err)
		}
	}
}

// TestReadAs has MessagePack that is read, but written differently.
func TestReadAs(t *testing.T) {
	for digits, want := range map[string]string{
		// not the shortest form
		"cc01": `1`, "cf0000000000000001": `1`, "d001": `1`, "d30000000000000001": `1`, "d90161": `"a"`, "db0000000161": `"a"`,
		"dc000101": `[1]`, "df00000001a16101": `{"a":1}`, "cb3ff0000000000000": `1`,
		"ca3dcccccd": `0.10000000149011612`, "ca3f800000": `1`,
		// not in JSON
		"cb7ff8000000000000": `null`, "cb7ff0000000000000": `null`, "cbfff0000000000000": `null`, "ca7fc00000": `null`,
		"d40000": `null`, "92 d40000 01": `[null,1]`,
		"82 a161 d40000 a162 01": `{"b":1}`, "82 a161 01 a162 d40000": `{"a":1}`, "81 a161 d40000": `{}`,
		"91 81 a161 d40000": `[{}]`,
		// dates
		"d700 0000000000000000": `"1970-01-01T00:00:00.000Z"`, "d700 0000018cc251f47b": `"2024-01-01T00:00:00.123Z"`,
		"d700 ffffffffffffffff": `"1969-12-31T23:59:59.999Z"`,
		"d700 001eb208c2dc0000": `"+275760-09-13T00:00:00.000Z"`, "d700 ffe14df73d240000": `"-271821-04-20T00:00:00.000Z"`,
		"d700 001eb208c2dc0001": `null`, "d700 8000000000000000": `null`,
		// timestamps
		"d6ff 00000000": `"1970-01-01T00:00:00.000Z"`, "d6ff ffffffff": `"2106-02-07T06:28:15.000Z"`,
		"d7ff 1d53530065920080": `"2024-01-01T00:00:00.123Z"`, "d7ff 0000000000000000": `"1970-01-01T00:00:00.000Z"`,
		"d7ff 1d535303ffffffff":            `"2514-05-30T01:53:03.123Z"`,
		"c70cff 3b8b87c0 ffffffffffffffff": `"1969-12-31T23:59:59.999Z"`, "c704ff 00000001": `"1970-01-01T00:00:01.000Z"`,
		"c70cff 00000000 000007dba8218000": `"+275760-09-13T00:00:00.000Z"`,
		"c70cff 00000000 7fffffffffffffff": `null`, "c70cff 00000000 8000000000000000": `null`,
	} {
		if text, parts, err := toJSON(unhex(t, digits)); text != want || parts != nil || err != nil {
			t.Errorf("%s is %s %x, %v; want %s", digits, text, parts, err, want)
		}
	}
}

func TestWrittenAs(t *testing.T) {
	for text, want := range map[string]string{
		` [ 1 , { "a" : "\u00e9" } ] `: "92 01 81 a161 a2c3a9",
		`1.0`:                          "cb3ff0000000000000",
		`1e3`:                          "cb408f400000000000",
		`1e400`:                        "cb7ff0000000000000",
		`-1e400`:                       "cbfff0000000000000",
		`1e-400`:                       "cb0000000000000000",
		`18446744073709551616`:         "cb43f0000000000000",
		`-9223372036854775809`:         "cbc3e0000000000000",
		`"\ud83d\ude00"`:               "a4f09f9880",
		`"\ud800"`:                     "a3efbfbd",
		`"a\udc00\ud800b"`:             "a8 61 efbfbd efbfbd 62",
		"\"\xff\"":                     "a3efbfbd",
		`"\\"`:                         "a15c",
		`["\\","\"]"]`:                 "92 a15c a2225d",
		// not JSON
		``: "c0", `[`: "c0", `{"a"}`: "c0", `nul`: "c0", `01`: "c0", "\x01" + `0`: "c0",
		strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1): "c0",
	} {
		if got := Append(nil, json.RawMessage(text), nil, math.MaxInt); !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%.100s is %x; want %s", text, got, want)
		}
	}
}

func TestBinary(t *testing.T) {
	const looks = "82 ac5f706c616365686f6c646572 c3 a36e756d 00"
	placeholder := func(n string) string { return `{"_placeholder":true,"num":` + n + `}` }
	for digits, want := range map[string]struct {
		text  string
		parts [][]byte
	}{
		"c400":                     {placeholder("0"), [][]byte{{}}},
		"c4020102":                 {placeholder("0"), [][]byte{{1, 2}}},
		"c500010a":                 {placeholder("0"), [][]byte{{10}}},
		"c6000000010a":             {placeholder("0"), [][]byte{{10}}},
		"c7020001ff":               {placeholder("0"), [][]byte{{1, 0xff}}}, // ArrayBuffers
		"c80001000a":               {placeholder("0"), [][]byte{{10}}},
		"c900000001000a":           {placeholder("0"), [][]byte{{10}}},
		"92 c40101 81 a161 c40102": {`[` + placeholder("0") + `,{"a":` + placeholder("1") + `}]`, [][]byte{{1}, {2}}},
		// if there are parts, a map that looks like a placeholder is null, with everything in it
		"92 c40101" + looks:     {`[` + placeholder("0") + `,null]`, [][]byte{{1}}},
		"92" + looks + "c40101": {`[null,` + placeholder("0") + `]`, [][]byte{{1}}},
		"92 82 ac5f706c616365686f6c646572 c3 a161 91 c40101 c40102": {`[null,` + placeholder("0") + `]`, [][]byte{{2}}},
		"82 ac5f706c616365686f6c646572 c3 a161 c40101":              {`null`, nil},
		// the last of several members counts
		"92 c40101 82 ac5f706c616365686f6c646572 c3 ac5f706c616365686f6c646572 c2": {
			`[` + placeholder("0") + `,{"_placeholder":true,"_placeholder":false}]`, [][]byte{{1}}},
	} {
		text, parts, err := toJSON(unhex(t, digits))
		if text != want.text || !slices.EqualFunc(parts, want.parts, bytes.Equal) || err != nil {
			t.Errorf("%s is %s %x, %v; want %v", digits, text, parts, err, want)
		}
	}
	for text, want := range map[string]string{
		placeholder("0"): "c40101", placeholder("1"): "c400", placeholder("2"): "c0", `{"_placeholder":true}`: "c0",
		`[` + placeholder("1") + `,{"a": ` + placeholder("0") + `,"b":` + placeholder(`"x"`) + ` }]`: "92 c400 82 a161 c40101 a162 c0",
	} {
		if got := Append(nil, json.RawMessage(text), [][]byte{{1}, {}}, math.MaxInt); !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%s is %x; want %s", text, got, want)
		}
	}
	for size, want := range map[int]string{255: "c4ff", 256: "c50100", 65535: "c5ffff", 65536: "c600010000"} {
		if got := Append(nil, json.RawMessage(placeholder("0")), [][]byte{make([]byte, size)}, math.MaxInt); !bytes.HasPrefix(got, unhex(t, want)) {
			t.Errorf("%d bytes begin with %x; want %s", size, got[:5], want)
		}
	}
	many := `[` + strings.Repeat(placeholder("0")+",", 1000) + `1]`
	if got := Append(nil, json.RawMessage(many), [][]byte{make([]byte, 300)}, 1000); len(got) < 900 || len(got) > 3000 {
		t.Errorf("a thousand times the same part are %d bytes", len(got))
	}
	if _, _, err := toJSON(append([]byte{0x9b}, bytes.Repeat([]byte{0xc4, 0}, 11)...)); err == nil {
		t.Error("eleven parts are read")
	}
}

func TestInvalid(t *testing.T) {
	for _, digits := range []string{
		"", "c1", "cc", "cd00", "ce000000", "cf00000000000000", "d0", "d100", "d2000000", "d300000000000000",
		"ca000000", "cb00000000000000", "a1", "d901", "da000161"[:6], "db00000001", "c401", "c50001", "c600000001",
		"91", "92 01", "81", "81 a161", "82 a16101", "dc0001", "dd00000001", "de0001", "df00000001",
		// keys that are not strings
		"81 01 01", "81 c0 01", "81 90 01", "81 c40161 01", "81 d40000 01",
		// other extensions, and too short ones
		"d401 00", "d4ff 00", "d400", "d4", "d500 0000", "d600 00000000", "d6ff 000000", "d7ff 00000000000000", "d700 00000000000000",
		"d6fe 00000000", "d7fe 0000000000000000", "d4ff 00", "c704ff 000000", "c705ff 0000000000", "c70cff 0000000000000000000000",
		"d800 " + strings.Repeat("00", 16), "c70101ff", "c70100", "c700", "c7", "c80000", "c9000000", "c7 0c fe 000000000000000000000000",
		// not UTF-8: overlong, surrogates, incomplete, single bytes
		"a1ff", "a2c080", "a3eda080", "a2e282", "a180", "a4f4908080", "81 a1ff 01", "81 a1ff d40000",
		// lengths beyond the end of the data
		"ddffffffff", "dfffffffff", "dbffffffff", "c6ffffffff", "c9ffffffff00", "dd00000010 dd00000010 dd00000010",
		strings.Repeat("91", maxDepth+1) + "c0", strings.Repeat("81a161", maxDepth+1) + "c0",
	} {
		if text, _, err := toJSON(unhex(t, digits)); err == nil {
			t.Errorf("%.60s is %.100s", digits, text)
		}
	}
	if _, _, err := toJSON(unhex(t, strings.Repeat("91", maxDepth)+"c0")); err != nil {
		t.Errorf("%d levels: %v", maxDepth, err)
	}
}

// TestTooMuch: data that exceeds a limit has another error than data that is not MessagePack.
func TestTooMuch(t *testing.T) {
	for digits, want := range map[string]error{
		"91 91 c0": nil, "91 91 91 c0": ErrDepth, "81 a161 81 a161 80": ErrDepth, "91 91 91 c1": ErrDepth, "91 91 c1": ErrInvalid,
		"92 c40101 c40102": nil, "93 c40101 c40102 c40103": ErrParts,
	} {
		if _, _, _, err := AppendJSON(nil, unhex(t, digits), 2, 2); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", digits, err, want)
		}
	}
}

// TestPromises: data that claims to be long takes no memory and no time for that.
func TestPromises(t *testing.T) {
	bomb := bytes.Repeat([]byte{0xdc, 0xff, 0xff}, 300_000)
	for name, read := range map[string]func(){
		"skip": func() { _, _ = Skip(bomb) },
		"json": func() { _, _, _ = toJSON(bomb) },
	} {
		if n := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				read()
			}
		}).AllocedBytesPerOp(); n > 200_000 {
			t.Errorf("%s takes %d bytes for promises", name, n)
		}
	}
}

func TestRead(t *testing.T) {
	if n, rest, err := ReadMap([]byte{0x81, 0xa1, 'a', 1}); n != 1 || len(rest) != 3 || err != nil {
		t.Errorf("the map has %d members and %x, %v", n, rest, err)
	}
	if n, rest, err := ReadArray([]byte{0x91, 1}); n != 1 || len(rest) != 1 || err != nil {
		t.Errorf("the array has %d elements and %x, %v", n, rest, err)
	}
	if text, rest, err := ReadString([]byte{0xa1, 'a', 1}); string(text) != "a" || len(rest) != 1 || err != nil {
		t.Errorf("the string is %q and %x, %v", text, rest, err)
	}
	if value, rest, err := ReadUint([]byte{0xd0, 1, 1}); value != 1 || len(rest) != 1 || err != nil {
		t.Errorf("the integer is %d and %x, %v", value, rest, err)
	}
	for _, data := range [][]byte{{}, {0xff}, {0xd0, 0x80}, {0xc0}, {0xa1, 0xff}, {0xcb, 0, 0, 0, 0, 0, 0, 0, 0}} {
		_, _, notMap := ReadMap(data)
		_, _, notArray := ReadArray(data)
		_, _, notString := ReadString(data)
		_, _, notUint := ReadUint(data)
		for _, err := range []error{notMap, notArray, notString, notUint} {
			if err == nil {
				t.Errorf("%x is read as what it is not", data)
			}
		}
	}
	if !IsMap([]byte{0x80}) || IsMap([]byte{0x90}) || IsMap(nil) || !IsUndefined([]byte{0xd4, 0, 0}) || IsUndefined([]byte{0xc0}) {
		t.Error("a map or undefined is taken for something else")
	}
}

// FuzzJSON: a value is read as valid JSON, and is the same if it is written and read again.
func FuzzJSON(f *testing.F) {
	for digits := range values {
		if len(digits) < 1000 {
			f.Add(unhex(f, digits))
		}
	}
	for _, digits := range []string{
		"92 c40101 82 ac5f706c616365686f6c646572 c3 a36e756d 00", "82 a161 d40000 a162 01", "d700 0000018cc251f47b", "c7020001ff",
		"ca3dcccccd", "cb7ff8000000000000", "ddffffffff", "81 01 01",
	} {
		f.Add(unhex(f, digits))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		skipped, skipErr := Skip(data)
		text, parts, rest, err := AppendJSON(nil, data, maxParts, maxDepth)
		if err != nil {
			return
		}
		if skipErr != nil || len(skipped) != len(rest) {
			t.Errorf("%x is skipped up to %x, %v; but read up to %x", data, skipped, skipErr, rest)
		}
		if !json.Valid(text) {
			t.Errorf("%x is %q", data, text)
		}
		if len(text) > 7*len(data)+30*maxParts {
			t.Errorf("%d bytes become %d", len(data), len(text))
		}
		again, moreParts, err := toJSON(Append(nil, text, parts, math.MaxInt))
		if err != nil || again != string(text) || !slices.EqualFunc(moreParts, parts, bytes.Equal) {
			t.Errorf("%s %x became %s %x, %v", text, parts, again, moreParts, err)
		}
	})
}

// FuzzAppend: JSON that is written and read again means the same, and placeholders without a
// part do no harm.
func FuzzAppend(f *testing.F) {
	for _, text := range values {
		if len(text) < 1000 {
			f.Add([]byte(text), []byte("part"), uint8(0))
		}
	}
	f.Add([]byte(`[{"_placeholder":true,"num":0},{"a":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":2}]`), []byte("part"), uint8(2))
	f.Add([]byte(`["\ud800",1e400," \u005f",{"a":1,"a":2}]`), []byte{}, uint8(1))
	f.Fuzz(func(t *testing.T, text, part []byte, count uint8) {
		parts := slices.Repeat([][]byte{part}, int(count%3))
		data := Append(nil, text, parts, math.MaxInt)
		got, _, rest, err := AppendJSON(nil, data, math.MaxInt, maxDepth)
		if err != nil || len(rest) > 0 {
			t.Fatalf("%q became %x, which is %v", text, data, err)
		}
		if !rawjson.Valid(text) && string(got) != "null" {
			t.Errorf("%q became %s", text, got)
		}
		var before, after any
		if len(parts) > 0 || json.Unmarshal(text, &before) != nil || data[0] == null {
			return // an infinite number, or too deep
		}
		if err := json.Unmarshal(got, &after); err != nil || !reflect.DeepEqual(before, after) {
			t.Errorf("%q became %s, %v", text, got, err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	text := json.RawMessage(`{"id":7,"sku":"x","price":1.5,"note":"` + strings.Repeat("x", 200) + `"}`)
	dst := make([]byte, 0, 400)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Append(dst, text, nil, 0)
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	data := Append(nil, json.RawMessage(`{"id":7,"sku":"x","price":1.5,"note":"`+strings.Repeat("x", 200)+`"}`), nil, 0)
	dst := make([]byte, 0, 400)
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, _, _, err := AppendJSON(dst, data, maxParts, maxDepth); err != nil {
			b.Fatal(err)
		}
	}
}
