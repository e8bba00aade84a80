package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// The pki of one control plane: an authority, the API server's certificate, and the key that signs the
// tokens of service accounts.
type pki struct {
	authority *identity

	caFile, servingCert, servingKey, accountKey string
}

// An identity is a key and the certificate that goes with it.
type identity struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newPKI(folder string) (*pki, error) {
	authority, err := issue(nil, &x509.Certificate{
		Subject:               pkix.Name{CommonName: "control plane of a test"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	})
	if err != nil {
		return nil, err
	}
	serving, err := issue(authority, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		// A virtual machine with QEMU's own network reaches this machine's 127.0.0.1 as 10.0.2.2.
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 0, 1), net.IPv4(10, 0, 2, 2)},
	})
	if err != nil {
		return nil, err
	}
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	p := &pki{
		authority:   authority,
		caFile:      filepath.Join(folder, "ca.crt"),
		servingCert: filepath.Join(folder, "serving.crt"),
		servingKey:  filepath.Join(folder, "serving.key"),
		accountKey:  filepath.Join(folder, "accounts.key"),
	}
	for file, content := range map[string][]byte{
		p.caFile:      authority.pem(),
		p.servingCert: serving.pem(),
		p.servingKey:  keyPEM(serving.key),
		p.accountKey:  keyPEM(accounts),
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// user makes the identity of a user. Kubernetes reads its name and groups from the certificate.
func (p *pki) user(name string, groups ...string) (*identity, error) {
	return issue(p.authority, &x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// client speaks to the API server as a user.
func (p *pki) client(name string, groups ...string) (*http.Client, error) {
	user, err := p.user(name, groups...)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.authority.cert)
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs:      roots,
			Certificates: []tls.Certificate{{Certificate: [][]byte{user.cert.Raw}, PrivateKey: user.key}},
		}},
	}, nil
}

// issue completes and signs the certificate; without an issuer it signs itself.
func issue(issuer *identity, template *x509.Certificate) (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, err
	}
	// A guest's clock may lag behind.
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(30 * 24 * time.Hour)
	if !template.IsCA {
		template.KeyUsage = x509.KeyUsageDigitalSignature
	}
	if issuer == nil {
		issuer = &identity{key: key, cert: template}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, key.Public(), issuer.key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of %q: %w", template.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &identity{key: key, cert: cert}, nil
}

func (i *identity) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

// keyPEM writes a key in the one form in which kube-apiserver finds the public key, too.
func keyPEM(key *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		panic("the keys of this package are on a curve that has a name: " + err.Error())
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}
