// Package msgpack turns MessagePack into JSON with binary parts and back, without values in between: order and precision
// are kept, and what is sent to many is encoded once.
//
// JSON with binary parts is what event arguments are: each object {"_placeholder":true,"num":N} in the JSON stands for
// part N (see [rawjson.Placeholders]); where there are no parts such an object is just an object.
//
// The MessagePack is that of notepack.io, which Socket.IO's msgpack parser uses, with its extensions of type 0: undefined,
// dates and ArrayBuffers. https://github.com/msgpack/msgpack/blob/master/spec.md
//
// Nothing here recurses, nor takes more memory than a small multiple of its input, whatever lengths that claims. All
// functions may be called concurrently. None keeps or modifies its input, but parts and strings that are read share it.
package msgpack
