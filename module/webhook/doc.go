// Package webhook lets an application behind HTTP, the backend, authenticate clients and
// handle their events. Requests ask the backend who a client is and what follows from an
// event, and tell it which sockets are gone. The directory schema describes the messages.
// They are signed as Standard Webhooks are.
//
//   - handler.go: from events to requests, and what is done with the answers
//   - request.go, signature.go, client.go, streamer.go: what is sent, and how
//   - batches.go, batch.go, batchanswer.go, pendingevent.go, held.go: messages that go
//     together, and what becomes of each
//   - answer.go, reader.go, expiry.go, bounds.go: what backends answer
//   - reply.go: what becomes of answers that are not good
//   - slots.go, pause.go, deadlines.go: how many requests there may be, and until when
//   - queue.go, queuesend.go, disconnect.go: messages about disconnects, and their retries
//   - records.go, record.go, storage.go: how these messages outlive the process
//   - backup.go, recovered.go: what other nodes tell, and what they have told by mistake
//   - meter.go, notices.go, peer.go: figures, log lines that come once, whom a request is
//     about
package webhook
