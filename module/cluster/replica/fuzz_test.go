package replica

import (
	"bytes"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
)

// FuzzReceive has a broker deliver anything. Nothing panics, and the table counts right what copies
// hold.
func FuzzReceive(f *testing.F) {
	entries := entry{key: []byte("key"), value: []byte("value")}.append(nil)
	entries = entry{key: []byte("gone"), gone: true}.append(entries)
	f.Add(append(encodeHead(update{Sequence: 1, Count: 1, Digest: sumOf([]byte("key"), []byte("value"))}), entries...))
	f.Add(appendBucket(encodeHead(answer{Sequence: 1}), bucketOf([]byte("key")), entry{key: []byte("key"), value: []byte("v")}.append(nil)))
	f.Add([]byte(`{"node":"b","incarnation":"1","done":true}`))
	f.Add(entries)
	f.Fuzz(func(t *testing.T, body []byte) {
		table := New(Options[string, string]{Kind: "table", Codec: texts{}, MaxBytes: 100})
		m := bus.Message{Node: "a", Incarnation: "1", Body: body}
		first := append(encodeHead(update{Sequence: 1}), entry{key: []byte("key"), value: []byte("before")}.append(nil)...)
		_ = table.receiveUpdate(bus.Message{Node: "a", Incarnation: "1", Body: first})
		_ = table.receiveUpdate(m)
		_ = table.receiveLoss(m)
		c := table.copies["a"]
		var head answer
		if rest, err := decodeHead(body, &head); err == nil {
			_, _ = readDigests(rest)
			_, _ = table.takeBuckets(c, head.Sequence, []byte{byte(bucketOf([]byte("key"))), 1, 2}, rest)
		}
		_, _ = table.readKeys(body)
		have, size := 0, 0
		var sum uint64
		for key, value := range c.all() {
			have++
			size += len(key) + len(value)
			sum ^= sumOf([]byte(key), []byte(value))
		}
		if c.have != have || c.bytes != size || table.bytes != size || size > 100 || c.sum != sum {
			t.Errorf("%d entries with %d bytes and the digest %d, counted as %d, %d, %d and %d", have, size, sum, c.have, c.bytes, table.bytes, c.sum)
		}
	})
}

// FuzzEntry reads any text as entries: what is read is written the same way, but for lengths that
// take more bytes than they need.
func FuzzEntry(f *testing.F) {
	f.Add(entry{key: []byte("key"), value: []byte("value")}.append(nil))
	f.Add(entry{key: []byte("key"), gone: true}.append(nil))
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, text []byte) {
		e, rest, err := readEntry(text)
		if err != nil {
			return
		}
		again, left, err := readEntry(e.append(nil))
		if err != nil || len(left) > 0 || !bytes.Equal(again.key, e.key) || !bytes.Equal(again.value, e.value) || again.gone != e.gone {
			t.Errorf("%v became %v: %v", e, again, err)
		}
		if len(e.key)+len(e.value)+len(rest) > len(text) {
			t.Error("there is more than there was")
		}
	})
}
