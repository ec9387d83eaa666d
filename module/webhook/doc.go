// Package webhook lets an application behind HTTP be the authenticator and the
// handler of sockets: it is asked by requests who clients are and what follows
// from their events, and told who is gone. The messages are described in the
// directory schema; they are signed as Standard Webhooks are.
//
//   - backend.go: what comes in, and what is done about it
//   - request.go, signature.go: what is asked; answer.go, reader.go, expiry.go: what
//     is answered, as backends write it
//   - client.go, deadlines.go: how a request is sent, and until when; peer.go: whom
//     it is about
//   - departure.go, queue.go: sockets that are gone, and how they are told of
//   - journal.go, segment.go, keeper.go, storage.go: how that outlives the process;
//     recall.go: how the next one takes it over
//   - reply.go: what becomes of answers that are not good
//   - slots.go, pause.go: how many requests there may be at a time; meter.go: how
//     many there are
//   - notices.go: what is logged once
package webhook
