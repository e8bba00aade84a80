package operator

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// words is an error in words for the person at the command line: what is wrong, and what to do.
func words(err error) string {
	var status apierrors.APIStatus
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var lookup *net.DNSError
	switch server := serverOf(err); {
	case apierrors.IsUnauthorized(err):
		return "the cluster does not know who you are: the credentials of the kubeconfig's user are missing, wrong or expired; get new ones, or name another user with --user or --context"
	case apierrors.IsForbidden(err):
		return err.Error() + "; ask whoever runs the cluster for that right, or name another user with --user or --context"
	case apierrors.IsNotFound(err) && errors.As(err, &status) && unknownKind(status):
		return "the cluster does not know this kind of object: install Elemental's custom resources there (packaging/crds), or name another cluster with --context"
	case errors.As(err, &unknown):
		return fmt.Sprintf("the certificate of the cluster at %s is signed by an authority that is not trusted here: give its file with --certificate-authority, or check that --context leads to the right cluster", server)
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate of the cluster at %s is for another name: %v; give the right one with --tls-server-name", server, name)
	case errors.As(err, &lookup):
		return fmt.Sprintf("the cluster's address %s can't be found: %v; check the network, and that --context leads to the right cluster", server, lookup)
	case errors.Is(err, syscall.ECONNREFUSED) && server == "http://localhost:8080":
		return "no kubeconfig says which cluster to ask: name one with --kubeconfig, or in $KUBECONFIG"
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("the cluster at %s does not answer: the connection is refused; check that it runs, and that --context leads to the right one", server)
	case errors.Is(err, context.Canceled):
		return err.Error() // It was the person who ended it.
	case isTimeout(err):
		return strings.TrimSuffix("the cluster at "+server, " at ") +
			" does not answer in time; check the network, and that --context leads to the right one; --request-timeout gives it longer"
	default:
		return err.Error()
	}
}

// unknownKind says that it was not an object that is missing: the answer for one names it. Where the server does not
// know the path, the client puts in the name.
func unknownKind(status apierrors.APIStatus) bool {
	details := status.Status().Details
	return details == nil || details.Name == "" || slices.ContainsFunc(details.Causes, func(c metav1.StatusCause) bool {
		return c.Type == metav1.CauseTypeUnexpectedServerResponse
	})
}

// serverOf is the address that could not be asked, without what else may stand in it; empty when it was.
func serverOf(err error) string {
	var failed *url.Error
	if !errors.As(err, &failed) {
		return ""
	}
	address, err := url.Parse(failed.URL)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(address.Scheme+"://"+address.Host, "://")
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
