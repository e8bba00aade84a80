package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// KubeconfigForUser makes a user out of nothing, who proves itself by a certificate, and returns the
// path of a kubeconfig for it. RBAC says what it may do.
func (c *ControlPlane) KubeconfigForUser(name string, groups ...string) (string, error) {
	user, err := c.pki.user(name, groups...)
	if err != nil {
		return "", fmt.Errorf("making a kubeconfig for the user %q: %w", name, err)
	}
	return c.kubeconfig(&clientcmdapi.AuthInfo{
		ClientCertificateData: user.pem(),
		ClientKeyData:         keyPEM(user.key),
	})
}

// KubeconfigForServiceAccount asks for a token of an existing service account, good for an hour, and
// returns the path of a kubeconfig that holds it.
func (c *ControlPlane) KubeconfigForServiceAccount(ctx context.Context, namespace, name string) (string, error) {
	path := "/api/v1/namespaces/" + namespace + "/serviceaccounts/" + name + "/token"
	answer, err := c.do(ctx, http.MethodPost, path,
		strings.NewReader(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":3600}}`))
	if err != nil {
		return "", fmt.Errorf("asking for a token of the service account %s/%s: %w", namespace, name, err)
	}
	var request struct{ Status struct{ Token string } }
	if err := json.Unmarshal(answer, &request); err != nil {
		return "", fmt.Errorf("reading the token of the service account %s/%s: %w", namespace, name, err)
	}
	return c.KubeconfigForToken(request.Status.Token)
}

// KubeconfigForToken returns the path of a kubeconfig that presents the token, whatever it is worth.
func (c *ControlPlane) KubeconfigForToken(token string) (string, error) {
	return c.kubeconfig(&clientcmdapi.AuthInfo{Token: token})
}

func (c *ControlPlane) kubeconfig(who *clientcmdapi.AuthInfo) (string, error) {
	const name = "elemental"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: c.URL(), CertificateAuthorityData: c.CA()}
	config.AuthInfos[name] = who
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: "default"}
	config.CurrentContext = name
	content, err := clientcmd.Write(*config)
	if err != nil {
		return "", fmt.Errorf("writing a kubeconfig: %w", err)
	}
	file, err := os.CreateTemp(c.folder, "kubeconfig-")
	if err != nil {
		return "", fmt.Errorf("writing a kubeconfig: %w", err)
	}
	if _, err := file.Write(content); err != nil {
		_ = file.Close()
		return "", fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return file.Name(), file.Close()
}
