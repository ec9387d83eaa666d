package webhook

import (
	"context"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

type peerKey struct{}

func withPeer(ctx context.Context, peer realtime.Peer) context.Context {
	return context.WithValue(ctx, peerKey{}, peer)
}

// PeerOf returns whose client a request to the backend is about. A RoundTripper
// asks it with the request's context.
func PeerOf(ctx context.Context) (realtime.Peer, bool) {
	peer, ok := ctx.Value(peerKey{}).(realtime.Peer)
	return peer, ok
}
