// Package redisadapter makes a hub a member of a cluster of Socket.IO's own servers that use
// @socket.io/redis-adapter. It speaks the wire format of version 8.3, which is that of all versions
// since 7. Messages of @socket.io/redis-emitter, and of its ports to other languages, are read, too.
//
// For each namespace there are three kinds of channels of Redis ([channels]). Everybody publishes
// broadcasts to the first, requests to the second and responses to the third. Whoever is subscribed
// to the channel of requests is counted, and must answer.
//
//   - message.go: JSON and MessagePack; packet.go: events and whom they are for
//   - broadcast.go, request.go, response.go: what is published
//   - adapter.go, link.go, queue.go: the member, and its connection
//   - handle.go: what others publish; bridge.go, pending.go: what the hub asks of them
//
// Redis is not trusted: a message that is not valid is an error, and takes no more memory than a small
// multiple of its size.
package redisadapter
