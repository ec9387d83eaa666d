package realtime

import (
	"bytes"
	"testing"
	"unique"
)

// FuzzTables reads any text as keys and values of other nodes' tables: what is accepted is written the
// same way, but for counts that take more bytes than they need.
func FuzzTables(f *testing.F) {
	f.Add(backupCodec{}.AppendKey(nil, backupKey{unique.Make("endpoint"), "msg_1"}))
	f.Add(occupancyCodec{}.AppendKey(nil, roomKey("/", "red")))
	f.Add(occupancyCodec{}.AppendValue(nil, 300))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := (backupCodec{}).ReadKey(text); err == nil && !bytes.Equal(backupCodec{}.AppendKey(nil, key), text) {
			t.Errorf("%q became the record %q", text, key.id)
		}
		if value, err := (backupCodec{}).ReadValue(text); err == nil && !bytes.Equal(backupCodec{}.AppendValue(nil, value), text) {
			t.Errorf("%q became the value %q", text, value)
		}
		if key, err := (occupancyCodec{}).ReadKey(text); err == nil && !bytes.Equal(occupancyCodec{}.AppendKey(nil, key), text) {
			t.Errorf("%q became the key %d", text, key)
		}
		if count, err := (occupancyCodec{}).ReadValue(text); err == nil {
			again, err := occupancyCodec{}.ReadValue(occupancyCodec{}.AppendValue(nil, count))
			if err != nil || again != count || count == 0 {
				t.Errorf("%q became %d and then %d: %v", text, count, again, err)
			}
		}
	})
}

// Names do not run into one another.
func TestOccupancyKeys(t *testing.T) {
	keys := make(map[occupancyKey]string)
	for _, names := range [][3]string{
		{"user", "", "ab"}, {"room", "", "ab"}, {"room", "a", "b"}, {"room", "ab", ""}, {"room", "", "\x01ab"}, {"room", "\x00", "ab"},
	} {
		key := hashNames(names[0], names[1], names[2])
		if other, ok := keys[key]; ok {
			t.Errorf("%q has the key of %q", names, other)
		}
		keys[key] = names[0] + " " + names[1] + " " + names[2]
	}
}
