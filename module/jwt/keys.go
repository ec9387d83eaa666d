package jwt

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	gojwt "github.com/golang-jwt/jwt/v5"
)

// Keys verify tokens. The kinds of the keys say which algorithms are accepted: a token
// cannot choose. The zero value has no keys. Keys must not be added while an
// Authenticator uses them.
type Keys struct {
	secrets []gojwt.VerificationKey // of HMAC
	public  []crypto.PublicKey
	set     *KeySet // nil: none
}

// minSecret is the size of the shortest secret, in bytes (RFC 7518, section 3.2).
const minSecret = 32

// AddSecret adds a secret of HMAC. The error does not contain the secret.
func (k *Keys) AddSecret(secret []byte) error {
	if len(secret) < minSecret {
		return fmt.Errorf("a secret has %d bytes or more, such as what this prints: "+
			"openssl rand -base64 32", minSecret)
	}
	k.secrets = append(k.secrets, secret)
	return nil
}

// AddPEM adds every public key of a text in PEM: RSA from 2048 bits on, ECDSA on the
// curves P-256, P-384 and P-521, and Ed25519. Of a certificate it adds the key.
func (k *Keys) AddPEM(text []byte) error {
	found := false
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		key, err := parseBlock(block)
		if err != nil {
			return err
		}
		k.public = append(k.public, key)
		found = true
	}
	if !found {
		return errors.New("there is no key in PEM, which begins with -----BEGIN PUBLIC KEY-----")
	}
	return nil
}

func parseBlock(block *pem.Block) (key crypto.PublicKey, err error) {
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = certificate.PublicKey
		}
	default:
		return nil, fmt.Errorf("a %s verifies nothing; write the public key, "+
			"as of openssl pkey -pubout", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the %s: %w", block.Type, err)
	}
	return key, checkKey(key)
}

// checkKey reports a public key that is not accepted.
func checkKey(key crypto.PublicKey) error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return fmt.Errorf("the RSA key has %d bits; 2048 are needed", key.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if size := key.Params().BitSize; size != 256 && size != 384 && size != 521 {
			return fmt.Errorf("the curve %s is not one of P-256, P-384 and P-521", key.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("a key of the type %T is none of RSA, ECDSA and Ed25519", key)
	}
	return nil
}

// SetKeySet adds the keys of a set, those to come included.
func (k *Keys) SetKeySet(set *KeySet) { k.set = set }

// The algorithms of each kind of key.
var (
	ofSecrets = []string{"HS256", "HS384", "HS512"}
	ofRSA     = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	ofECDSA   = []string{"ES256", "ES384", "ES512"}
	ofEd25519 = []string{"EdDSA"}
)

// algorithms returns the algorithms by which tokens may be signed.
func (k *Keys) algorithms() []string {
	algorithms := []string{}
	if len(k.secrets) > 0 {
		algorithms = append(algorithms, ofSecrets...)
	}
	if k.set != nil {
		algorithms = append(algorithms, ofRSA...)
		algorithms = append(algorithms, ofECDSA...)
		algorithms = append(algorithms, ofEd25519...)
	}
	for _, key := range k.public {
		switch key := key.(type) {
		case *rsa.PublicKey:
			algorithms = append(algorithms, ofRSA...)
		case *ecdsa.PublicKey:
			algorithms = append(algorithms, map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[key.Params().BitSize])
		case ed25519.PublicKey:
			algorithms = append(algorithms, ofEd25519...)
		}
	}
	return algorithms
}

// Empty reports whether there is no key, nor anywhere to fetch one.
func (k *Keys) Empty() bool { return len(k.secrets) == 0 && len(k.public) == 0 && k.set == nil }

// find returns the keys that may verify a token, by its algorithm.
func (k *Keys) find(ctx context.Context, t *gojwt.Token) (any, error) {
	if _, ok := t.Header["crit"]; ok { // Extensions that must be understood: none is (RFC 7515, section 4.1.11).
		return nil, gojwt.ErrTokenUnverifiable
	}
	if _, ok := t.Method.(*gojwt.SigningMethodHMAC); ok {
		return gojwt.VerificationKeySet{Keys: k.secrets}, nil
	}
	var candidates []gojwt.VerificationKey
	for _, key := range k.public {
		if fits(t.Method, key) {
			candidates = append(candidates, key)
		}
	}
	if k.set != nil {
		kid, _ := t.Header["kid"].(string)
		chosen, err := k.set.find(ctx, kid, t.Method, len(candidates) == 0)
		if err != nil && len(candidates) == 0 {
			return nil, err
		}
		candidates = append(candidates, chosen...)
	}
	if len(candidates) == 0 {
		return nil, gojwt.ErrTokenUnverifiable
	}
	return gojwt.VerificationKeySet{Keys: candidates}, nil
}

// renew has the key set fetched for a token that no key verifies. It reports whether the
// token should be checked again.
func (k *Keys) renew(ctx context.Context, t *gojwt.Token) bool {
	if _, ok := t.Method.(*gojwt.SigningMethodHMAC); ok || k.set == nil {
		return false
	}
	kid, _ := t.Header["kid"].(string)
	return k.set.renew(ctx, kid)
}
