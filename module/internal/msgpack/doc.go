// Package msgpack translates between MessagePack and JSON with binary parts, without Go values in
// between. It keeps the order and the precision of numbers.
//
// Event arguments are JSON with binary parts. Each object {"_placeholder":true,"num":N} in the JSON
// stands for part N (see [rawjson.Placeholders]). If there are no parts, such an object is only an
// object.
//
// The MessagePack is that of notepack.io, which Socket.IO's msgpack parser and its adapters use.
// Version 2 has extensions of type 0 for undefined, dates and ArrayBuffers. Version 3 writes dates as
// timestamps.
// https://github.com/msgpack/msgpack/blob/master/spec.md
//
// No function recurses, and none takes more memory than a small multiple of its input, whatever
// lengths the input claims. All functions may be called concurrently. None keeps or modifies its
// input, but the parts and strings that they return share its memory.
package msgpack
