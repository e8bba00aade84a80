// Package identity is what makes a host itself to its cluster: a key pair that never leaves it, and credentials that
// only the holder of that key can read.
package identity

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// protocol binds what is sealed to this use of the key, as RFC 9180 asks of its info.
const protocol = "elemental.io/host-identity/v1"

// Key is a host's private key, X25519 as RFC 9180 uses it.
type Key struct{ private hpke.PrivateKey }

// NewKey makes a key.
func NewKey() (Key, error) {
	private, err := kem().GenerateKey()
	if err != nil {
		return Key{}, fmt.Errorf("making the host's key: %w", err)
	}
	return Key{private}, nil
}

// ParseKey reads what Bytes returned.
func ParseKey(text []byte) (Key, error) {
	private, err := kem().NewPrivateKey(text)
	if err != nil {
		return Key{}, errors.New("reading the host's key: it is no X25519 key") // The key itself must not be told.
	}
	return Key{private}, nil
}

// Bytes is the key to be kept. It is secret.
func (k Key) Bytes() ([]byte, error) { return k.private.Bytes() }

// Public is the public key.
func (k Key) Public() []byte { return k.private.PublicKey().Bytes() }

// Hash names a public key: the sha256 of its bytes, in hexadecimal.
func Hash(public []byte) string {
	sum := sha256.Sum256(public)
	return hex.EncodeToString(sum[:])
}

// Check says whether bytes are a public key.
func Check(public []byte) error {
	if _, err := ecdh.X25519().NewPublicKey(public); err != nil {
		return errors.New("it is no X25519 public key of 32 bytes")
	}
	return nil
}

// Credentials let a host be one ElementalHost. The token is secret.
type Credentials struct {
	Server    string    `json:"server"` // the URL of the API server
	CA        []byte    `json:"ca"`     // PEM: who may sign for it
	Namespace string    `json:"namespace"`
	Host      string    `json:"host"`
	Token     string    `json:"token"`
	Expires   time.Time `json:"expires"`
	Orders    Orders    `json:"orders,omitzero"`
}

// Orders are what the host's registration tells its OS plugin, each a JSON object. They are sealed since a cloud config
// may hold passwords.
type Orders struct {
	CloudConfig json.RawMessage `json:"cloudConfig,omitempty"`
	Install     json.RawMessage `json:"install,omitempty"`
	Reset       json.RawMessage `json:"reset,omitempty"`
}

// Purpose is the one request that credentials are sealed for: what was sealed for another host, or for another
// request of the same host, can't be opened as this.
type Purpose struct {
	Namespace string `json:"namespace"`
	Host      string `json:"host"`
	Request   string `json:"request"` // its UID
}

// Seal makes credentials readable for the holder of a key alone.
func Seal(public []byte, of Purpose, c Credentials) ([]byte, error) {
	key, err := ecdh.X25519().NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("sealing credentials for host %s: its public key is no X25519 key", of.Host)
	}
	to, err := hpke.NewDHKEMPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("sealing credentials for host %s: %w", of.Host, err)
	}
	encapsulated, sender, err := hpke.NewSender(to, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(protocol))
	if err != nil {
		return nil, fmt.Errorf("sealing credentials for host %s: %w", of.Host, err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("sealing credentials for host %s: %w", of.Host, err)
	}
	sealed, err := sender.Seal(of.bound(), text)
	if err != nil {
		return nil, fmt.Errorf("sealing credentials for host %s: %w", of.Host, err)
	}
	return append(encapsulated, sealed...), nil
}

// Open reads credentials that were sealed for this key and this purpose.
func (k Key) Open(sealed []byte, of Purpose) (Credentials, error) {
	size := len(k.Public()) // What encapsulates a key of this kind is as long as the key.
	if len(sealed) <= size {
		return Credentials{}, errors.New("opening the credentials: there are too few bytes")
	}
	recipient, err := hpke.NewRecipient(sealed[:size], k.private, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(protocol))
	if err != nil {
		return Credentials{}, fmt.Errorf("opening the credentials: %w", err)
	}
	text, err := recipient.Open(of.bound(), sealed[size:])
	if err != nil {
		return Credentials{}, errors.New("opening the credentials: they were sealed for another key, host or request, or were changed")
	}
	var c Credentials
	if err := json.Unmarshal(text, &c); err != nil {
		return Credentials{}, errors.New("opening the credentials: they are not what a controller seals")
	}
	if c.Namespace != of.Namespace || c.Host != of.Host || c.Token == "" || c.Server == "" {
		return Credentials{}, errors.New("opening the credentials: they are incomplete, or of another host")
	}
	return c, nil
}

func (p Purpose) bound() []byte {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // Three texts can always be written.
	}
	return text
}

func kem() hpke.KEM { return hpke.DHKEM(ecdh.X25519()) }
