package enrollment

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"elemental/adapters/kubernetes/identity"
	"elemental/ports"
)

// store keeps a host's key and credentials in a folder that root alone can read. Each file is written whole, so
// that a host which is killed at any moment has the old one or the new one.
type store struct{ folder string }

// kept is what stands in the file of credentials.
type kept struct {
	Request     string               `json:"request"` // the UID of the request that was answered with them
	Credentials identity.Credentials `json:"credentials"`
	Published   []byte               `json:"published,omitempty"` // PEM: the certificates that the cluster published last
}

const (
	keyFile         = "key"
	credentialsFile = "credentials.json"
)

// key returns the host's key, and makes it the first time. The key is the host: one that is lost is another host.
func (s store) key() (identity.Key, error) {
	path := filepath.Join(s.folder, keyFile)
	text, err := os.ReadFile(path)
	if err == nil {
		key, err := parseKey(text)
		if err != nil {
			return identity.Key{}, fmt.Errorf("%w: %s is damaged: restore it, or remove it, and the host asks to join as a new one, which an administrator may give the place of the old one (replaces)", err, path)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return identity.Key{}, fmt.Errorf("reading the host's key: %w", err)
	}
	key, err := identity.NewKey()
	if err != nil {
		return identity.Key{}, err
	}
	secret, err := key.Bytes()
	if err != nil {
		return identity.Key{}, fmt.Errorf("making the host's key: %w", err)
	}
	return key, s.write(keyFile, append(secret, checksum(secret)...))
}

// checksum tells a damaged key from another one, since any 32 bytes are a key.
func checksum(secret []byte) []byte {
	sum := sha256.Sum256(secret)
	return sum[:8]
}

func parseKey(text []byte) (identity.Key, error) {
	if at := len(text) - 8; at > 0 && bytes.Equal(text[at:], checksum(text[:at])) {
		return identity.ParseKey(text[:at])
	}
	return identity.Key{}, errors.New("reading the host's key: its checksum is wrong")
}

// load returns the credentials that are kept. ErrNotFound: there are none, or none that can be read; the host then
// asks for them again, as itself.
func (s store) load() (kept, error) {
	text, err := os.ReadFile(filepath.Join(s.folder, credentialsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return kept{}, fmt.Errorf("reading the host's credentials: %w", ports.ErrNotFound)
	}
	if err != nil {
		return kept{}, fmt.Errorf("reading the host's credentials: %w", err)
	}
	var k kept
	if err := json.Unmarshal(text, &k); err != nil || k.Request == "" || k.Credentials.Token == "" || k.Credentials.Host == "" {
		return kept{}, fmt.Errorf("reading the host's credentials: %s is damaged, and the host asks for others, as itself: %w", filepath.Join(s.folder, credentialsFile), ports.ErrNotFound)
	}
	return k, nil
}

func (s store) save(k kept) error {
	text, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("keeping the host's credentials: %w", err)
	}
	return s.write(credentialsFile, text)
}

// files are those that are kept, as another system must have them.
func (s store) files() ([]ports.File, error) {
	var files []ports.File
	for _, name := range []string{keyFile, credentialsFile} {
		path := filepath.Join(s.folder, name)
		secret, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading what the host's identity is kept in: %w", err)
		}
		files = append(files, ports.File{Path: path, Mode: 0o600, Data: secret})
	}
	return files, nil
}

func (s store) write(name string, secret []byte) error {
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return fmt.Errorf("keeping the host's identity: %w", err)
	}
	if err := writeFile(filepath.Join(s.folder, name), secret); err != nil {
		return fmt.Errorf("keeping the host's identity: %w", err)
	}
	return syncFolder(filepath.Dir(s.folder))
}
