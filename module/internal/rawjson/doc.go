// Package rawjson reads and rewrites JSON without decoding it.
//
// Event arguments stay raw JSON from end to end. [Split] validates a packet once and cuts it into
// its arguments. [Placeholders] and [Binaries] replace the objects that stand for binary
// arguments. Everything else passes through byte for byte. No function recurses, and none takes
// more memory than a small multiple of its input.
//
// JSON is valid if [encoding/json.Valid] accepts it (RFC 8259, nested at most 10,000 deep). Neither
// checks UTF-8. A caller that needs valid text checks the whole message first.
//
// All functions may be called concurrently. None keeps or modifies its input, but a result may
// share the memory of the input.
package rawjson
