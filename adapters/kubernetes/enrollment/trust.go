package enrollment

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// newTransport reaches one server, through the proxy that the environment names, if it does. Moments are what the time
// may be.
func newTransport(server string, ca []byte, moments func() []time.Time) (*http.Transport, error) {
	address, err := url.Parse(server)
	if err != nil || address.Scheme != "https" || address.Hostname() == "" {
		return nil, fmt.Errorf("connecting to %q: it must be https:// with a host", server)
	}
	var roots *x509.CertPool // Nil stands for the system's.
	if len(ca) > 0 {
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("connecting to %s: what it was given to know the server by (certificateAuthority) holds no certificate in PEM", server)
		}
	}
	return utilnet.SetTransportDefaults(&http.Transport{
		MaxIdleConnsPerHost: 2,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			// The standard verification is replaced by one that is the same but for the time.
			InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies, in every handshake.
			VerifyConnection: func(state tls.ConnectionState) error {
				return verify(state.PeerCertificates, roots, address.Hostname(), moments())
			},
		},
	}), nil
}

// verify checks a server's certificates as crypto/tls does, but for a host whose clock may be wrong: they are good if
// they are at one of the moments. A certificate that is not valid yet counts as one that is valid by now: its
// authority has signed it, so it is the host's clock that is behind. One that has ended has ended: nothing tells a
// host whose clock is ahead from a thief of an old key.
func verify(chain []*x509.Certificate, roots *x509.CertPool, name string, moments []time.Time) error {
	if len(chain) == 0 {
		return errors.New("the server shows no certificate")
	}
	options := x509.VerifyOptions{Roots: roots, DNSName: name, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	var err error
	for _, at := range moments {
		if options.CurrentTime = at; at.Before(chain[0].NotBefore) {
			options.CurrentTime = chain[0].NotBefore
		}
		if _, err = chain[0].Verify(options); err == nil {
			return nil
		}
	}
	if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return fmt.Errorf("the certificate of %s ended on %s, and this host's clock shows %s: set the clock, or renew the certificate: %w",
			name, chain[0].NotAfter.UTC().Format(time.RFC3339), moments[0].UTC().Format(time.RFC3339), err)
	}
	return err
}

// trusted are the certificates of whom the host believes: those that it was given when it joined, those that the
// cluster publishes now, and those of its own configuration, by which an operator helps a host that missed a change.
// Empty: whom the system trusts.
func (e *Enrollment) trusted(k kept) []byte {
	if len(k.Credentials.CA) == 0 {
		return nil
	}
	own, err := e.bundle()
	if err != nil || own.Server != k.Credentials.Server {
		own = Bundle{} // It is the word on another server, or none.
	}
	if len(merge(k.Credentials.CA)) == 0 {
		return k.Credentials.CA // What is damaged must not become trust in everyone.
	}
	return merge(k.Credentials.CA, k.Published, own.CA)
}

// merge writes each certificate once, in the order in which they first come.
func merge(sets ...[]byte) []byte {
	var merged []byte
	seen := map[string]bool{}
	for _, rest := range sets {
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if block.Type == "CERTIFICATE" && !seen[string(block.Bytes)] {
				seen[string(block.Bytes)] = true
				merged = append(merged, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
			}
		}
	}
	return merged
}
