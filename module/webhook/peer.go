package webhook

import (
	"context"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

type peerKey struct{}

func withPeer(ctx context.Context, peer realtime.Peer) context.Context {
	return context.WithValue(ctx, peerKey{}, peer)
}

// PeerOf returns the peer of the client that a request to the backend is about. That of a
// batch has no ClientIP, since it is about several clients. A RoundTripper calls PeerOf with the
// request's context.
func PeerOf(ctx context.Context) (realtime.Peer, bool) {
	peer, ok := ctx.Value(peerKey{}).(realtime.Peer)
	return peer, ok
}
