package jwt_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/caddy-realtime/caddy-realtime/module/jwt"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func Example() {
	secret := []byte(strings.Repeat("s", 32))
	keys := new(jwt.Keys)
	if err := keys.AddSecret(secret); err != nil {
		fmt.Println(err)
		return
	}
	room, err := jwt.ParseRoom("org:{claims.org_id}")
	if err != nil {
		fmt.Println(err)
		return
	}
	authenticator := jwt.New(jwt.Options{
		Keys:  keys,
		Data:  map[string]string{"role": "role"},
		Rooms: []jwt.Room{room},
	})

	// A login signs a token. The client sends it as {auth: {token}}.
	token, err := gojwt.NewWithClaims(gojwt.SigningMethodHS256, gojwt.MapClaims{
		"sub": "alice", "org_id": "o1", "role": "admin", "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(secret)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, sent := range []string{token, ""} {
		auth, err := json.Marshal(map[string]string{"token": sent})
		if err != nil {
			fmt.Println(err)
			return
		}
		identity, err := authenticator.Authenticate(context.Background(), "/", &realtime.Handshake{Auth: auth})
		if err != nil {
			fmt.Println("refused:", err)
			continue
		}
		fmt.Printf("%s joins %s with role %s\n", identity.User, identity.Rooms, identity.Data["role"])
	}
	// Output:
	// alice joins [org:o1] with role "admin"
	// refused: token is missing
}
