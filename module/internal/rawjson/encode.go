package rawjson

import (
	"bytes"
	"encoding/json"
)

// Encode appends v to b as encoding/json encodes it, but without escapes for HTML: raw JSON within v
// stays as it is. The error is encoding/json's; then b is as it was.
func Encode(b *bytes.Buffer, v any) error {
	before := b.Len()
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		b.Truncate(before)
		return err
	}
	b.Truncate(b.Len() - len("\n"))
	return nil
}
