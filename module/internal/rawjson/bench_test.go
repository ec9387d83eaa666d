package rawjson

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
)

// The events have typical sizes: a chat message and a record.
var (
	small  = []byte(`["message",{"id":12345,"to":"room:7","text":"hello, how are you"}]`)
	record = []byte(`["order:created",{"id":"b7f2c1de-9d0e-4c55-8d5b-3f0f6a3c9a11","customer":{"name":"Zoë Müller","email":"zoe@example.com","tags":["vip","eu"]},` +
		`"items":[{"sku":"A-100","count":2,"price":19.95},{"sku":"B-2\"7","count":1,"price":-0.5e1},{"sku":"C-3","count":12,"price":7}],"paid":true,"note":null,"text":"` +
		strings.Repeat("the quick brown fox ", 33) + `"},17]`)
	attached = []byte(`["file",{"name":"a.png","data":{"_placeholder":true,"num":0}},{"_placeholder":true,"num":1}]`)
)

func BenchmarkSplit(b *testing.B) {
	for _, data := range [][]byte{small, record} {
		name := strconv.Itoa(len(data)) + "B"
		b.Run("split/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := split(data); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("append/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			var dst []json.RawMessage
			for b.Loop() {
				var err error
				if dst, err = appendTo(dst[:0], data); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("json.Valid/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if !json.Valid(data) {
					b.Fatal()
				}
			}
		})
		b.Run("json.Unmarshal/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				var elements []json.RawMessage
				if err := json.Unmarshal(data, &elements); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPlaceholders(b *testing.B) {
	renumber := func(dst []byte, num json.RawMessage) ([]byte, error) {
		n, _ := Index(num, 2)
		return AppendPlaceholder(dst, n+3), nil
	}
	for name, data := range map[string][]byte{"none": record, "two": attached} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Placeholders(data, renumber); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
