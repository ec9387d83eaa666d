// Package rawjson reads and rewrites JSON without decoding it.
//
// Event arguments stay raw JSON from end to end: [Split] validates a packet once and cuts it into its arguments;
// [Placeholders] and [Binaries] exchange the objects that stand for binary arguments; everything else passes through
// byte for byte. Nothing here recurses, and no function takes more memory than a small multiple of its input.
//
// "Valid" means what [encoding/json.Valid] accepts (RFC 8259, nested at most 10,000 deep). Like it, this package does
// not look at UTF-8: who needs valid text checks the whole message first.
//
// All functions may be called concurrently. None keeps or modifies its input; results may share it.
package rawjson
