package identity

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

var (
	given = Credentials{
		Server: "https://api.example.com", CA: []byte("PEM"), Namespace: "field", Host: "edge-1",
		Token: "canary-token", Expires: time.Unix(1700000000, 0).UTC(),
	}
	purpose = Purpose{Namespace: "field", Host: "edge-1", Request: "uid-1"}
)

func newKey(t *testing.T) Key {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSealAndOpen(t *testing.T) {
	is := is.New(t)
	key := newKey(t)
	sealed, err := Seal(key.Public(), purpose, given)
	is.NoErr(err)
	is.True(!strings.Contains(string(sealed), "canary"))
	text, err := key.Bytes()
	is.NoErr(err)
	kept, err := ParseKey(text) // as after a restart
	is.NoErr(err)
	is.Equal(Hash(kept.Public()), Hash(key.Public()))
	opened, err := kept.Open(sealed, purpose)
	is.NoErr(err)
	is.Equal(opened, given)
	again, err := Seal(key.Public(), purpose, given)
	is.NoErr(err)
	is.True(!slices.Equal(sealed, again)) // No two of them are alike.
}

func TestOpenRefuses(t *testing.T) {
	key := newKey(t)
	sealed, err := Seal(key.Public(), purpose, given)
	if err != nil {
		t.Fatal(err)
	}
	changed := slices.Clone(sealed)
	changed[len(changed)-1] ^= 1
	for name, c := range map[string]struct {
		key    Key
		sealed []byte
		of     Purpose
	}{
		"another key":       {newKey(t), sealed, purpose},
		"another host":      {key, sealed, Purpose{"field", "edge-2", "uid-1"}},
		"another namespace": {key, sealed, Purpose{"forest", "edge-1", "uid-1"}},
		"another request":   {key, sealed, Purpose{"field", "edge-1", "uid-2"}},
		"changed":           {key, changed, purpose},
		"cut":               {key, sealed[:20], purpose},
		"nothing":           {key, nil, purpose},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, err := c.key.Open(c.sealed, c.of)
			is.True(err != nil)
			is.True(!strings.Contains(err.Error(), "canary"))
		})
	}
}

func TestBadKeys(t *testing.T) {
	is := is.New(t)
	_, err := ParseKey([]byte("short"))
	is.True(err != nil && !strings.Contains(err.Error(), "short"))
	_, err = Seal([]byte("short"), purpose, given)
	is.True(err != nil)
}
